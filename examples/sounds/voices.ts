import {execFile} from 'node:child_process';
import {promisify} from 'node:util';
import {readWav, resample, type Sound} from 'tfjs-lora/sound';
import {mulberry32} from '../shared/random';
import {noise, RATE} from './clips';

/** The six words that are learned. */
export const WORDS = ['computer', 'banana', 'umbrella', 'jupiter', 'guitar', 'elephant'];
/** Classes: the words, and everything else. */
export const CLASSES = [...WORDS, 'background'];

/** Words that the base was trained on. */
export const BASE_WORDS =
  `yes no up down left right stop go one two three four five six seven eight nine zero bird cat dog happy house tree
  follow learn forward water paper window green orange music yellow summer silver open close start finish light dark
  hello goodbye please morning evening today tonight yesterday monkey tiger rabbit chicken horse sheep apple lemon
  tomato potato cherry coffee butter cheese sugar pepper bread breakfast dinner supper spoon plate mirror pillow blanket
  candle lantern curtain ladder hammer bucket shovel needle button zipper jacket trousers sweater sandal ribbon necklace
  diamond emerald copper iron plastic leather cotton velvet mountain valley island desert forest jungle meadow ocean
  harbour beach volcano thunder lightning rainbow snowflake hurricane weather january april august october wednesday
  saturday birthday wedding concert theatre gallery museum hospital station airport railway motorway bicycle tractor
  submarine helicopter rocket satellite planet galaxy gravity energy oxygen hydrogen calcium vitamin protein skeleton
  shoulder ankle stomach eyebrow whisper laughter sorrow courage freedom justice wisdom memory history science chemistry
  biology geography grammar alphabet dictionary novel poetry journal photograph painting sculpture violin trumpet drum
  melody rhythm singer dancer actor farmer sailor soldier lawyer baker butcher carpenter plumber teacher student
  professor emperor princess knight dragon wizard giant monster shadow secret treasure castle palace village city
  country nation language question answer problem solution number quarter double seventeen thirty hundred thousand
  million minute hour century quickly slowly careful dangerous beautiful heavy empty narrow circle triangle square arrow
  pyramid machine keyboard telephone television radio calendar envelope`.split(/\s+/);

/** Other words, of which the background consists. The base knows none of them. */
const OTHER_WORDS = {
  base: 'people because animal another picture remember children family system program several against between almost',
  train:
    'table river monday kitchen doctor letter market pencil carpet winter bottle garden engine basket camera finger ' +
    'holiday library minister possible together understand tomorrow',
  test:
    'body office reason garage husband police father article surface wonder valuable business usual material ' +
    'example general traffic operator government interest sentence mother captain',
};

const ACCENTS = [
  'en-us',
  'en-us-nyc',
  'en-gb',
  'en-gb-scotland',
  'en-gb-x-rp',
  'en-029',
  'en-gb-x-gbclan',
  'en-gb-x-gbcwmd',
];

/** Voices by what they are for. None is in two lists. */
const VOICES = {
  base:
    'm1 m2 m3 m5 m7 f1 f2 f4 f5 Alex Andy Annie AnxiousAndy Denis Diogo Gene Gene2 Henrique Hugo Jacky Mario Mike ' +
    'Nguyen adam announcer antonio aunty belinda croak david ed grandma grandpa gustave iven2 klatt klatt2 klatt3 ' +
    'klatt4 marcelo max miguel norbert paul pedro quincy rob robert whisper',
  train: 'm4 m6 f3 Lee linda Marco steph zac boris anika',
  held: 'Storm iven kaukovalta michel sandro shelby steph3 klatt5',
  test: 'm8 Alicia Andrea benjamin caleb edward john Michael pablo steph2 travis victor',
};

export type Speakers = keyof typeof VOICES;

const run = promisify(execFile);

/** Speaks a text with espeak-ng. @throws Error if it is not installed. */
async function speak(
  text: string,
  {voice, speed, pitch}: {voice: string; speed: number; pitch: number},
): Promise<Sound> {
  const args = ['-v', voice, '-s', String(speed), '-p', String(pitch), '--stdout', text];
  try {
    const {stdout} = await run('espeak-ng', args, {encoding: 'buffer', maxBuffer: 2 ** 24});
    return readWav(stdout);
  } catch (cause) {
    throw new Error('espeak-ng is needed to speak the words: apt-get install espeak-ng', {cause});
  }
}

/** Says a text as one of the speakers, with an accent, a speed, a pitch and an intonation from a seed. */
export async function say(text: string, speakers: Speakers, seed: number): Promise<Sound> {
  const random = mulberry32(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const voice = `${pick(ACCENTS)}+${pick(VOICES[speakers].split(' '))}`;
  const [speed, pitch] = [Math.round(130 + 50 * random()), Math.round(30 + 40 * random())];
  const {samples, sampleRate} = await speak(text + pick(['', '?', '!']), {voice, speed, pitch});
  // A tape that runs at another speed makes another voice of it.
  const tape = speakers === 'base' ? pick([0.88, 0.94, 1, 1.06, 1.12]) : 1;
  return resample({samples, sampleRate: Math.round((tape * sampleRate) / 50) * 50}, RATE);
}

/** Does something with many items, several at a time: a program that speaks mostly waits. */
export async function severally<T, R>(items: readonly T[], doing: (item: T, i: number) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let i = 0; i < items.length; i += 16) {
    results.push(...(await Promise.all(items.slice(i, i + 16).map((item, j) => doing(item, i + j)))));
  }
  return results;
}

/** Minutes of a room in which somebody says one to three other words now and then. */
export async function room(minutes: number, speakers: Speakers, seed: number): Promise<Sound> {
  const {samples, sampleRate} = noise(60 * minutes, seed);
  const random = mulberry32(seed);
  samples.forEach((value, i) => (samples[i] = 0.1 * value));
  const others = OTHER_WORDS[speakers === 'held' ? 'train' : speakers].split(' ');
  const phrases: {at: number; text: string; seed: number}[] = [];
  for (let at = RATE; at < samples.length - 3 * RATE; at += Math.round((1.5 + 3 * random()) * RATE)) {
    const words = Array.from(
      {length: 1 + Math.floor(3 * random())},
      () => others[Math.floor(random() * others.length)]!,
    );
    phrases.push({at, text: words.join(' '), seed: Math.floor(random() * 2 ** 31)});
  }
  await severally(phrases, async ({at, text, seed: how}) => {
    const spoken = await say(text, speakers, how);
    spoken.samples.forEach((value, i) => (samples[at + i]! += 0.6 * value));
  });
  return {samples, sampleRate};
}
