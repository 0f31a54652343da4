import * as tf from '@tensorflow/tfjs';
import type {Sound, SoundEvent} from 'tfjs-lora/sound';
import {wordFrames} from 'tfjs-lora/words';
import {kept} from './cache';
import {noise} from './clips';
import {MELS} from './model';
import {withWords} from './spoken';
import {room, say, severally, WORDS} from './voices';

/** Frames of a minute, and the words that are said in it. */
export interface Minute {
  frames: tf.Tensor2D;
  known: SoundEvent[];
}

/** Minutes of noise, of a room with other words, and of one with the six words too, by voices that are not trained on. */
export interface Streams {
  noisy: Minute[];
  talking: Minute[];
  spoken: Minute[];
}

/** A sound, and the words that are said in it. */
interface Spoken {
  sound: Sound;
  known: SoundEvent[];
}

/** Generates minutes, or reads them from the cache. */
export async function streamsOf(
  speakers: 'held' | 'test',
  minutes: Readonly<Record<keyof Streams, number>>,
): Promise<Streams> {
  const makers: Record<keyof Streams, (minute: number) => Spoken | Promise<Spoken>> = {
    noisy: minute => ({sound: noise(60, 30_000 + 3 * minute), known: []}),
    talking: async minute => ({sound: await room(1, speakers, 10_000 + minute), known: []}),
    spoken: async minute => {
      const sounds = await severally(WORDS, (word, i) => say(word, speakers, 5000 + 10 * minute + i));
      return withWords(await room(1, speakers, 20_000 + minute), sounds);
    },
  };
  const all = async (kind: keyof Streams): Promise<Minute[]> => {
    const made: Minute[] = [];
    for (let minute = 0; minute < minutes[kind]; minute++) {
      made.push(
        await minuteOf(kind === 'noisy' ? [kind, minute] : [kind, speakers, minute], () => makers[kind](minute)),
      );
    }
    return made;
  };
  return {noisy: await all('noisy'), talking: await all('talking'), spoken: await all('spoken')};
}

/** A minute as a file: its frames, the events as JSON, and how long that is. */
async function minuteOf(key: readonly unknown[], make: () => Spoken | Promise<Spoken>): Promise<Minute> {
  const bytes = await kept(key, async () => {
    const {sound, known} = await make();
    const [frames, events] = [wordFrames(sound), Buffer.from(JSON.stringify(known))];
    const values = Buffer.from(new Uint8Array(Float32Array.from(frames.dataSync()).buffer));
    frames.dispose();
    return Buffer.concat([values, events, Buffer.from(Uint32Array.of(events.length).buffer)]);
  });
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(bytes.length - 4, true);
  const end = bytes.length - 4 - size;
  const values = new Float32Array(Uint8Array.from(bytes.subarray(0, end)).buffer);
  return {
    frames: tf.tensor2d(values, [values.length / MELS, MELS]),
    known: JSON.parse(Buffer.from(bytes.subarray(end, bytes.length - 4)).toString()) as SoundEvent[],
  };
}
