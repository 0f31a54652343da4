import {spawnSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {readWav, resample, type Sound} from 'tfjs-lora/sound';
import {mulberry32} from '../shared/random';
import {noise, RATE, second} from './clips';

/** The six words that are learned. */
export const WORDS = ['computer', 'banana', 'umbrella', 'jupiter', 'guitar', 'elephant'];
/** Classes: the words, and everything else. */
export const CLASSES = [...WORDS, 'background'];
/** Words that the base was trained on. */
export const BASE_WORDS = (
  'yes no up down left right stop go one two three four five six seven eight nine zero bird cat dog happy house tree ' +
  'follow learn forward water paper window green orange music yellow summer silver'
).split(' ');
/** Other words, of which the background consists. None of them is a word that the base knows. */
const OTHER_WORDS = (
  'table river monday kitchen doctor letter market pencil carpet winter bottle garden engine basket camera finger ' +
  'holiday library minister possible together understand tomorrow'
).split(' ');

const ACCENTS = ['en-us', 'en-gb', 'en-gb-scotland', 'en-gb-x-rp', 'en-029', 'en-gb-x-gbclan'];

/** Voices by what they are for. None is in two lists. */
export const VOICES = {
  base: [
    'm1',
    'm2',
    'm3',
    'm5',
    'm7',
    'f1',
    'f2',
    'f4',
    'f5',
    'Alex',
    'Andy',
    'Annie',
    'belinda',
    'Gene',
    'Jacky',
    'rob',
  ],
  train: ['m4', 'm6', 'f3', 'Lee', 'linda', 'Marco', 'steph', 'zac', 'boris', 'anika'],
  test: [
    'm8',
    'Alicia',
    'Andrea',
    'benjamin',
    'caleb',
    'edward',
    'john',
    'Michael',
    'pablo',
    'steph2',
    'travis',
    'victor',
  ],
} as const;

export type Speakers = keyof typeof VOICES;

/** Speaks a text with espeak-ng. @throws Error if it is not installed. */
export function speak(text: string, {voice, speed, pitch}: {voice: string; speed: number; pitch: number}): Sound {
  const folder = mkdtempSync(join(tmpdir(), 'sounds-'));
  try {
    const file = join(folder, 'spoken.wav');
    const {status} = spawnSync('espeak-ng', ['-v', voice, '-s', String(speed), '-p', String(pitch), '-w', file, text]);
    if (status !== 0) {
      throw new Error('espeak-ng is needed to speak the words: apt-get install espeak-ng');
    }
    return resample(readWav(readFileSync(file)), RATE);
  } finally {
    rmSync(folder, {recursive: true});
  }
}

/** Says a text as one of the speakers, with an accent, a speed and a pitch from a seed. */
export function say(text: string, speakers: Speakers, seed: number): Sound {
  const random = mulberry32(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const voice = `${pick(ACCENTS)}+${pick(VOICES[speakers])}`;
  return speak(text, {voice, speed: Math.round(130 + 50 * random()), pitch: Math.round(30 + 40 * random())});
}

/** A clip of the background: noise, or another word. */
export function background(speakers: Speakers, seed: number): Sound {
  return seed % 3 === 0 ? noise(1, seed) : second(say(OTHER_WORDS[seed % OTHER_WORDS.length]!, speakers, seed));
}

/** Minutes of a room in which somebody says other words now and then. */
export function room(minutes: number, speakers: Speakers, seed: number): Sound {
  const {samples, sampleRate} = noise(60 * minutes, seed);
  const random = mulberry32(seed);
  samples.forEach((value, i) => (samples[i] = 0.1 * value));
  for (let at = RATE; at < samples.length - 2 * RATE; at += Math.round((1 + 3 * random()) * RATE)) {
    const word = OTHER_WORDS[Math.floor(random() * OTHER_WORDS.length)]!;
    const spoken = say(word, speakers, Math.floor(random() * 2 ** 31));
    spoken.samples.forEach((value, i) => (samples[at + i]! += 0.6 * value));
  }
  return {samples, sampleRate};
}
