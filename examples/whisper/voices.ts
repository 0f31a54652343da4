import {spawnSync} from 'node:child_process';
import {readWav, type Sound} from 'tfjs-lora/sound';
import {mulberry32} from '../shared/random';

const ACCENTS = ['en-us', 'en-gb'];

/** Variants of espeak-ng. None is in both lists. */
const VOICES = {
  train: 'm4 m6 f3 Lee linda Marco steph zac boris anika',
  test: 'm8 Alicia Andrea benjamin caleb edward john Michael pablo steph2 travis victor',
};

/** Says a text, with a voice, a speed and a pitch from a seed. @throws Error if espeak-ng is not installed. */
export function say(text: string, speakers: keyof typeof VOICES, seed: number): Sound {
  const random = mulberry32(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const voice = `${pick(ACCENTS)}+${pick(VOICES[speakers].split(' '))}`;
  const [speed, pitch] = [Math.round(130 + 40 * random()), Math.round(30 + 40 * random())];
  const args = ['-v', voice, '-s', String(speed), '-p', String(pitch), '--stdout', text];
  const {status, stdout} = spawnSync('espeak-ng', args, {maxBuffer: 2 ** 24});
  if (status !== 0) {
    throw new Error('espeak-ng is needed to speak the sentences: apt-get install espeak-ng');
  }
  return readWav(stdout);
}
