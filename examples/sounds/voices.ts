import {execFile} from 'node:child_process';
import {promisify} from 'node:util';
import {augmentSounds, readWav, resample, type Sound} from 'tfjs-lora/sound';
import {mulberry32} from '../shared/random';
import {noise, RATE} from './clips';

/** The six words that are learned. */
export const WORDS = ['computer', 'banana', 'umbrella', 'jupiter', 'guitar', 'elephant'];
/** Classes: the words, and everything else. */
export const CLASSES = [...WORDS, 'background'];

/** Words that the base was trained on. */
export const BASE_WORDS =
  `yes no up down left right stop go one two three four five six seven eight nine zero bird cat dog happy house
  tree follow learn forward water paper window green orange music yellow summer silver open close start finish
  light dark hello goodbye please morning evening today tonight yesterday monkey tiger rabbit chicken horse sheep
  apple lemon tomato potato cherry coffee butter cheese sugar pepper bread breakfast dinner supper spoon plate
  mirror pillow blanket candle lantern curtain ladder hammer bucket shovel needle button zipper jacket trousers
  sweater sandal ribbon necklace diamond emerald copper iron plastic leather cotton velvet mountain valley island
  desert forest jungle meadow ocean harbour beach volcano thunder lightning rainbow snowflake hurricane weather
  january april august october wednesday saturday birthday wedding concert theatre gallery museum hospital station
  airport railway motorway bicycle tractor submarine helicopter rocket satellite planet galaxy gravity energy
  oxygen hydrogen calcium vitamin protein skeleton shoulder ankle stomach eyebrow whisper laughter sorrow courage
  freedom justice wisdom memory history science chemistry biology geography grammar alphabet dictionary novel
  poetry journal photograph painting sculpture violin trumpet drum melody rhythm singer dancer actor farmer sailor
  soldier lawyer baker butcher carpenter plumber teacher student professor emperor princess knight dragon wizard
  giant monster shadow secret treasure castle palace village city country nation language question answer problem
  solution number quarter double seventeen thirty hundred thousand million minute hour century quickly slowly
  careful dangerous beautiful heavy empty narrow circle triangle square arrow pyramid machine keyboard telephone
  television radio calendar envelope apron acorn almond anchor antelope apartment apricot armchair artist athlete
  attic autumn avenue avocado balcony balloon bamboo bandage barrel basement battery beaver bedroom beetle blossom
  bonfire border boulder bracelet branch broccoli brother bubble buffalo cabbage cabin cactus camel canal canary
  candy canoe canyon carnival carrot cashier cathedral cattle cauliflower celery cereal champion channel chapter
  chimney chocolate cinema clarinet classroom cliff clover cobweb coconut collar comet compass contest corner
  costume cottage cousin coyote cradle crayon cricket crocodile crystal cucumber cupboard custom cylinder daffodil
  dentist detective dinosaur dolphin donkey dragonfly drawer driver eagle earthquake eclipse editor elbow elevator
  engineer evidence explorer fabric factory falcon feather festival fiction firefly fisherman flamingo flavour
  flower football fountain freezer furniture gallop gardener garlic ginger giraffe glacier glove goldfish gorilla
  grasshopper gravel guardian gymnast hamster harvest hedgehog herring highway hockey honey horizon hotel hydrant
  icicle igloo insect jaguar janitor jelly jigsaw jockey judge juniper kangaroo kettle kingdom kitten laboratory
  lavender lettuce limousine lizard lobster luggage magnet mammal mandarin maple marathon marble mattress medicine
  meteor microphone migration mineral miracle mitten molecule moonlight mosquito mushroom musket mustard napkin
  nature neighbour nephew nickel notebook nutmeg octopus olive onion opera orchard ostrich oyster paddle pajamas
  panther parachute parade parrot partner passenger peacock peanut pebble pelican penguin perfume pharmacy piano
  picnic pigeon pineapple pirate pistachio pocket polar porcupine postcard pottery prairie prison puddle pumpkin
  puppet puzzle raccoon radish railing raspberry receipt recipe refrigerator reindeer restaurant ribcage sailboat
  salmon sandwich sapphire sausage scarecrow scissors scooter seagull seaweed senator shampoo sheriff shipwreck
  skateboard sleeve slipper soccer spaghetti sparrow spider spinach sponge squirrel stadium stallion starfish
  stocking strawberry sunflower surgeon swallow symphony syrup tadpole tambourine teapot tornado tourist
  trampoline tulip tunnel turkey turtle twilight typhoon uncle unicorn uniform vacuum vampire vanilla vegetable
  veteran vineyard vinegar waffle walnut walrus warehouse waterfall weasel whistle widow wilderness windmill
  woodpecker workshop wrestler yogurt zebra`.split(/\s+/);

/** Other words, of which the background consists. None is in two lists, nor known to the base. */
const OTHER_WORDS = {
  base: 'people because animal another picture remember children family system program several against between almost',
  train:
    'table river monday kitchen doctor letter market pencil carpet winter bottle garden engine basket camera finger ' +
    'holiday library minister possible together understand tomorrow',
  held:
    'account agency budget campaign central community company control culture department director discussion ' +
    'economy effort environment figure foreign future happen human image increase industry inside issue listen ' +
    'manager measure meeting method military moment opinion party pattern period phone policy position pressure ' +
    'product project property purpose quality recent religion report result season section security service silent ' +
    'society special spirit strategy success support theory training treatment value version victim weapon',
  test:
    'body office reason garage husband police father article surface wonder valuable business usual material ' +
    'example general traffic operator government interest sentence mother captain',
};

/** Words that the base must not know. */
export const LEARNED_OR_HEARD: readonly string[] = [
  ...WORDS,
  ...[OTHER_WORDS.train, OTHER_WORDS.held, OTHER_WORDS.test].flatMap(words => words.split(' ')),
];

/** Accents of espeak-ng. */
export const ACCENTS = [
  'en-us',
  'en-us-nyc',
  'en-gb',
  'en-gb-scotland',
  'en-gb-x-rp',
  'en-029',
  'en-gb-x-gbclan',
  'en-gb-x-gbcwmd',
];

/** Voices of espeak-ng by what they are for. None is in two lists. */
export const VOICES = {
  base:
    'm1 m2 m3 m5 m7 f1 f2 f4 f5 Alex Andy Annie AnxiousAndy Denis Diogo Gene Gene2 Henrique Hugo Jacky Mario Mike ' +
    'Nguyen adam announcer antonio aunty belinda croak david ed grandma grandpa gustave iven2 klatt klatt2 klatt3 ' +
    'klatt4 marcelo max miguel norbert paul pedro quincy rob robert whisper',
  train: 'm4 m6 f3 Lee linda Marco steph zac boris anika',
  held: 'Storm iven kaukovalta michel sandro shelby steph3 klatt5',
  test: 'm8 Alicia Andrea benjamin caleb edward john Michael pablo steph2 travis victor',
};

export type Speakers = keyof typeof VOICES;

/** Made-up voices of the base. */
export const VOICES_MADE = 400;

/** Speeds of a tape, each of which makes another voice of one. */
const TAPES = [0.85, 0.9, 0.95, 1, 1.05, 1.1, 1.15];

/** Voices of another synthesizer, for the base alone. */
const FLITE_VOICES = ['awb', 'rms', 'kal16'];

const run = promisify(execFile);

/** Speaks with a synthesizer. @throws Error if it is not installed. */
async function speak(program: 'espeak-ng' | 'flite', args: readonly string[]): Promise<Sound> {
  try {
    // Its standard output is a socket here, which flite cannot open: cat makes a pipe of it.
    const piped = ['-c', 'flite -o /dev/stdout "$@" | cat', 'flite', ...args];
    const [command, all] = program === 'flite' ? ['sh', piped] : [program, ['--stdout', ...args]];
    const {stdout} = await run(command, all, {encoding: 'buffer', maxBuffer: 2 ** 24});
    return readWav(stdout);
  } catch (cause) {
    throw new Error(`${program} is needed to speak the words: apt-get install ${program}`, {cause});
  }
}

/**
 * Says a text as one of the speakers, with an accent, a speed, a pitch and an intonation from a seed.
 *
 * @param as a voice of espeak-ng and an accent, instead of those of the seed.
 */
export async function say(
  text: string,
  speakers: Speakers,
  seed: number,
  as?: {voice: string; accent: string},
): Promise<Sound> {
  const random = mulberry32(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const picked = `${pick(ACCENTS)}+${pick(VOICES[speakers].split(' '))}`;
  const voice = as === undefined ? picked : `${as.accent}+${as.voice}`;
  const [speed, pitch] = [Math.round(130 + 50 * random()), Math.round(30 + 40 * random())];
  const spoken = text + pick(['', '?', '!']);
  if (speakers !== 'base' || as !== undefined) {
    return resample(await speak('espeak-ng', ['-v', voice, '-s', `${speed}`, '-p', `${pitch}`, spoken]), RATE);
  }
  const tape = pick(TAPES);
  const {samples, sampleRate} = await (random() < 0.15
    ? speak('flite', [
        ...['-voice', pick(FLITE_VOICES), '--setf', `duration_stretch=${(150 / speed).toFixed(2)}`],
        ...['--setf', `int_f0_target_mean=${60 + 2 * pitch}`, '-t', spoken],
      ])
    : speak('espeak-ng', ['-v', voice, '-s', `${speed}`, '-p', `${pitch}`, spoken]));
  return resample({samples, sampleRate: Math.round((tape * sampleRate) / 50) * 50}, RATE);
}

/**
 * Says words one after the other with pauses, in one voice of the base, which is either one of those of espeak-ng or one
 * of those that were made up in a folder of data.
 */
export async function sentences(
  words: readonly string[],
  accents: readonly string[],
  data: string,
  seed: number,
): Promise<Sound> {
  const random = mulberry32(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const made = `made${Math.floor(VOICES_MADE * random())}`;
  const voice = `${pick(accents)}+${random() < 0.65 ? made : pick(VOICES.base.split(' '))}`;
  const [speed, pitch, tape] = [Math.round(120 + 70 * random()), Math.round(25 + 50 * random()), pick(TAPES)];
  const text = words.map(word => word + pick(['.', '.', '?', '!'])).join(' <break time="500ms"/> ');
  const options = ['-v', voice, '-s', `${speed}`, '-p', `${pitch}`];
  const {samples, sampleRate} = await speak('espeak-ng', [`--path=${data}`, ...options, '-m', text]);
  return resample({samples, sampleRate: Math.round((tape * sampleRate) / 50) * 50}, RATE);
}

/** Says a word with flite, in a voice of the base. */
export async function flite(word: string, seed: number): Promise<Sound> {
  const random = mulberry32(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const tape = pick(TAPES);
  const {samples, sampleRate} = await speak('flite', [
    ...['-voice', pick(FLITE_VOICES), '--setf', `duration_stretch=${(0.8 + 0.45 * random()).toFixed(2)}`],
    ...['--setf', `int_f0_target_mean=${Math.round(90 + 120 * random())}`, '-t', word + pick(['', '?', '!'])],
  ]);
  return resample({samples, sampleRate: Math.round((tape * sampleRate) / 50) * 50}, RATE);
}

/** A sound with its echoes in a room: each wall returns a part of it, the later the weaker. */
export function inRoom({samples, sampleRate}: Sound, seed: number): Sound {
  const random = mulberry32(seed);
  const decay = sampleRate * (0.02 + 0.13 * random()); // samples until a third is left
  const heard = samples.slice();
  for (let echo = 0; echo < 24; echo++) {
    const delay = Math.round(decay * 3 * random());
    const factor = 0.5 * (random() - 0.5) * Math.exp(-delay / decay);
    for (let i = delay; i < heard.length; i++) {
      heard[i]! += factor * samples[i - delay]!;
    }
  }
  return {samples: heard, sampleRate};
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
  const others = OTHER_WORDS[speakers].split(' ');
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

/** Seconds of other words, one after the other: each phrase in another room, with another loudness and noise. */
export async function talk(seconds: number, speakers: 'base' | 'held', seed: number): Promise<Sound> {
  const random = mulberry32(seed);
  const words = speakers === 'base' ? BASE_WORDS : OTHER_WORDS.held.split(' ');
  const texts = Array.from({length: 2 * seconds}, () =>
    Array.from({length: 1 + Math.floor(2 * random())}, () => words[Math.floor(random() * words.length)]!).join(' '),
  );
  const vary = augmentSounds({
    gain: 10,
    shift: 0,
    noise: Array.from({length: 12}, (_, i) => noise(3, seed + i)),
    snr: [5, 30],
    seed,
  });
  const samples = new Float32Array(seconds * RATE);
  let at = 0;
  for (const [i, text] of texts.entries()) {
    if (at < samples.length) {
      const spoken = vary(inRoom(await say(text, speakers, seed + i), seed + i)).samples;
      samples.set(spoken.subarray(0, samples.length - at), at);
      at += spoken.length;
    }
  }
  return {samples, sampleRate: RATE};
}
