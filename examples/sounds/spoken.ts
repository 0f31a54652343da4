import {centerSound, type Sound, type SoundEvent} from 'tfjs-lora/sound';
import {RATE, seconds} from './clips';
import type {Clips} from './learn';
import {room, say, severally, type Speakers, WORDS} from './voices';

/** Clips of each word, and a minute of a room in which other words are said. */
export async function clipsOf(speakers: Exclude<Speakers, 'base'>, count: number, seed: number): Promise<Clips> {
  const first = 1000 * seed;
  const labels = Array.from({length: WORDS.length * count}, (_, i) => Math.floor(i / count));
  const words = await severally(labels, async (label, i) =>
    centerSound(await say(WORDS[label]!, speakers, first + 50 * label + (i % count))),
  );
  const others = seconds(await room(1, speakers, first));
  return {clips: [...words, ...others], labels: [...labels, ...others.map(() => WORDS.length)]};
}

/** A room in which the words are said, each where no other word is likely to be, and when. */
export function withWords({samples, sampleRate}: Sound, words: readonly Sound[]): {sound: Sound; known: SoundEvent[]} {
  const every = Math.floor(samples.length / words.length);
  const known = words.map((word, i) => {
    const at = i * every + Math.floor(every / 4);
    word.samples.forEach((value, j) => (samples[at + j] = 0.1 * samples[at + j]! + 0.6 * value)); // in place of others
    return {label: WORDS[i]!, time: at / RATE};
  });
  return {sound: {samples, sampleRate}, known};
}
