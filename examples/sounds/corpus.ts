import {cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import type {Sound} from 'tfjs-lora/sound';
import {wordFrames} from 'tfjs-lora/words';
import {mulberry32, shuffled} from '../shared/random';
import {kept} from './cache';
import {bytesOf, MELS} from './model';
import {flite, inRoom, LEARNED_OR_HEARD, sentences, severally, VOICES_MADE} from './voices';

/** Frames of a clip, which is longer than the second that the network hears. */
export const CLIP_FRAMES = 128;
/** Words of one call of the synthesizer, all in one voice. */
const TOGETHER = 12;

/** Spoken words as bytes of features, `[clips, CLIP_FRAMES, MELS]`, and which word each of them is. */
export interface Corpus {
  bytes: Uint8Array;
  labels: Int32Array;
}

/** Made-up words of two to four syllables, spelled as English ones. None is like a word that is learned or heard later. */
export function inventedWords(count: number, seed: number): string[] {
  const random = mulberry32(seed);
  const pick = (list: string) => {
    const all = list.split(' ');
    return all[Math.floor(random() * all.length)]!;
  };
  const words = new Set<string>();
  while (words.size < count) {
    const syllables = [2, 2, 3, 3, 3, 4][Math.floor(6 * random())]!;
    let word = random() < 0.25 ? '' : pick('b c d f g h j k l m n p r s t v w z b d m p s t bl br cl cr dr fl fr gl gr pl pr sc sk sl sm sn sp st str sw tr ch sh th qu'); // prettier-ignore
    for (let i = 0; i < syllables; i++) {
      word += pick('a e i o u a e i o u a o ee oo ai ou ar er or');
      word += i + 1 < syllables ? pick('b d f g l m n p r s t v z ck ll mm nn pp rr ss tt mb mp nd nt ng nk st sk ct lt ld rn rt pl br tr dr ch sh th') : pick('n r l t m s d k p - - - nt nd st ct x ck sh th ng ly ty ry y er le on'); // prettier-ignore
    }
    word = word.replace('-', '');
    if (LEARNED_OR_HEARD.every(other => distance(word, other) > 3)) {
      words.add(word);
    }
  }
  return [...words];
}

/** How many letters must be changed, added or dropped. */
function distance(one: string, other: string): number {
  let row = Array.from({length: other.length + 1}, (_, i) => i);
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (one[i - 1] === other[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row.at(-1)!;
}

/**
 * Says each of the words as often as `count` says, in as many voices, with `seed`. It takes 20 ms of processor time for
 * a clip, so the clips are kept in the cache.
 */
export async function corpusOf(
  words: readonly string[],
  count: number,
  accents: readonly string[] | 'flite',
  seed: number,
): Promise<Corpus> {
  const clip = CLIP_FRAMES * MELS;
  const file = await kept(['corpus', accents, seed, count, words], async () => {
    const parts = await clipsOf(words, count, accents, seed);
    const labels = Int32Array.from(parts.flatMap(part => part.labels));
    return Buffer.concat([...parts.map(({bytes}) => bytes), Buffer.from(labels.buffer)]);
  });
  const clips = file.length / (clip + 4);
  return {
    bytes: file.subarray(0, clips * clip),
    labels: new Int32Array(Uint8Array.from(file.subarray(clips * clip)).buffer),
  };
}

/** Bytes of clips, and the word of each. */
interface Part {
  bytes: Uint8Array;
  labels: readonly number[];
}

async function clipsOf(
  words: readonly string[],
  count: number,
  accents: readonly string[] | 'flite',
  seed: number,
): Promise<Part[]> {
  const all = words.flatMap((_, word) => Array.from({length: count}, () => word));
  const wanted = shuffled(all, seed);
  const together = accents === 'flite' ? 1 : TOGETHER;
  const calls = Array.from({length: Math.ceil(wanted.length / together)}, (_, i) =>
    wanted.slice(i * together, (i + 1) * together),
  );
  const voices = madeVoices(seed);
  try {
    const parts: Part[] = [];
    for (let at = 0; at < calls.length; at += 64) {
      const some = await severally(calls.slice(at, at + 64), async (labels, i) => {
        const said = labels.map(label => words[label]!);
        const sound = await (accents === 'flite'
          ? flite(said[0]!, at + i)
          : sentences(said, accents, voices, 7919 * seed + at + i));
        return clipsIn((at + i) % 3 === 0 ? inRoom(sound, at + i) : sound, labels);
      });
      parts.push(...some);
      if (at % 640 === 0) {
        console.log(`${at * together} of ${wanted.length} clips`);
      }
    }
    return parts;
  } finally {
    rmSync(voices, {recursive: true});
  }
}

/** The clips of words that were said with pauses between them, or none if there are more or fewer sounds than words. */
function clipsIn(sound: Sound, labels: readonly number[]): Part {
  const {samples, sampleRate} = sound;
  const size = sampleRate / 100;
  const loud = Array.from({length: Math.floor(samples.length / size)}, (_, i) =>
    samples.subarray(i * size, (i + 1) * size).reduce((sum, value) => sum + value * value, 0),
  );
  const least = 3e-4 * Math.max(...loud);
  const spans: {from: number; until: number}[] = [];
  loud.forEach((power, i) => {
    if (power >= least) {
      const last = spans.at(-1);
      if (last !== undefined && i - last.until < 30) {
        last.until = i;
      } else {
        spans.push({from: i, until: i});
      }
    }
  });
  if (spans.length !== labels.length) {
    return {bytes: new Uint8Array(), labels: []};
  }
  const all = bytesOf(wordFrames(padded(sound)));
  const bytes = new Uint8Array(labels.length * CLIP_FRAMES * MELS);
  spans.forEach(({from, until}, word) => {
    const total = loud.slice(from, until + 1).reduce((sum, power) => sum + power, 0);
    let [center, sum] = [from, 0];
    while (center < until && sum < total / 2) {
      sum += loud[center++]!;
    }
    const first = Math.max(0, Math.min(all.length / MELS - CLIP_FRAMES, center + PAD - CLIP_FRAMES / 2));
    bytes.set(all.subarray(first * MELS, (first + CLIP_FRAMES) * MELS), word * CLIP_FRAMES * MELS);
  });
  return {bytes, labels};
}

const PAD = 64; // frames of silence before and after

function padded({samples, sampleRate}: Sound): Sound {
  const pad = (PAD * sampleRate) / 100;
  const longer = new Float32Array(samples.length + 2 * pad);
  longer.set(samples, pad);
  return {samples: longer, sampleRate};
}

/** A new folder of data for espeak-ng, with voices that are made up: other vocal tracts, pitches and timbres. */
function madeVoices(seed: number): string {
  const source = SOURCES.find(existsSync);
  if (source === undefined) {
    throw new Error('espeak-ng is needed to speak the words: apt-get install espeak-ng');
  }
  const folder = mkdtempSync(join(tmpdir(), 'voices-'));
  const data = join(folder, 'espeak-ng-data');
  mkdirSync(join(data, 'voices'), {recursive: true});
  for (const name of readdirSync(source).filter(each => each !== 'voices')) {
    symlinkSync(join(source, name), join(data, name));
  }
  cpSync(join(source, 'voices', '!v'), join(data, 'voices', '!v'), {recursive: true});
  for (let i = 0; i < VOICES_MADE; i++) {
    writeFileSync(join(data, 'voices', '!v', `made${i}`), voice(mulberry32(1_000_003 * seed + i), i));
  }
  return folder;
}

const SOURCES = [
  ...['x86_64-linux-gnu', 'aarch64-linux-gnu'].map(machine => `/usr/lib/${machine}/espeak-ng-data`),
  ...['/usr/share', '/usr/local/share', '/opt/homebrew/share'].map(folder => `${folder}/espeak-ng-data`),
];

function voice(random: () => number, i: number): string {
  const between = (low: number, high: number) => Math.round(low + (high - low) * random());
  const chance = (share: number, line: () => string) => (random() < share ? [line()] : []);
  const pitch = between(60, 230);
  const tract = between(82, 128);
  return [
    'language variant',
    `name made${i}`,
    `pitch ${pitch} ${Math.round((pitch * between(110, 190)) / 100)}`,
    ...chance(0.25, () => `klatt ${between(1, 5)}`),
    ...Array.from({length: 9}, (_, formant) => {
      const frequency = Math.round((tract * between(90, 110)) / 100);
      return `formant ${formant} ${frequency} ${between(60, 150)} ${between(60, 160)}`;
    }),
    ...chance(0.5, () => `roughness ${between(0, 6)}`),
    ...chance(0.4, () => `flutter ${between(0, 10)}`),
    ...chance(0.5, () => `voicing ${between(35, 120)}`),
    ...chance(0.5, () => `consonants ${between(40, 140)} ${between(30, 130)}`),
    ...chance(0.15, () => `echo ${between(10, 120)} ${between(5, 35)}`),
    ...chance(0.4, () => `intonation ${between(1, 4)}`),
    ...chance(0.3, () => `breath ${Array.from({length: 8}, () => between(0, 6)).join(' ')}`),
    ...chance(0.3, () => `tone 100 ${between(80, 255)} 600 ${between(60, 255)} 1200 ${between(20, 255)} 2000 ${between(20, 255)} 3000 ${between(10, 120)}`), // prettier-ignore
    ...chance(0.4, () => `stressAdd ${Array.from({length: 8}, () => between(-30, 60)).join(' ')}`),
    ...chance(0.3, () => `stressAmp ${Array.from({length: 8}, () => between(12, 24)).join(' ')}`),
    '',
  ].join('\n');
}
