import {checkNumber} from '../../platform/errors';
import {checkSound, type Sound} from './sound';

/**
 * Cuts a sound to a length, or pads it with silence, so that half of its energy is before the middle. A spoken word is
 * then in the middle of the clip, wherever it was in the recording.
 *
 * @param sound samples with their rate, such as `readSound` returns.
 * @param seconds the new length. Defaults to 1.
 * @returns a new sound of the same rate.
 * @throws LoRAError `ERR_OPTION` if it is no sound, or the length is not above 0.
 * @example
 *     const clip = centerSound(await recorder.record(1.5)); // one second, with the word in the middle
 * @experimental
 */
export function centerSound(sound: Sound, seconds = 1): Sound {
  checkSound(sound, 'the sound');
  const {samples, sampleRate} = sound;
  const size = Math.round(seconds * sampleRate);
  checkNumber('seconds', seconds, Number.isFinite(size) && size > 0, 'a length above 0');
  const energies = samples.map(value => value * value);
  const total = energies.reduce((sum, energy) => sum + energy, 0);
  let [middle, sum] = [0, 0];
  while (middle < energies.length && sum < total / 2) {
    sum += energies[middle++] as number;
  }
  const start = middle - Math.floor(size / 2);
  return {samples: Float32Array.from({length: size}, (_, i) => samples[start + i] ?? 0), sampleRate};
}
