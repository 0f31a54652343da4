import {kindOf, LoRAError} from '../../platform/errors';
import {bytesOf, fetched} from '../../core/storage/sources';
import type {CallOptions} from '../../platform/signals';
import {isWav, readWav} from './readWav';
import {checkSound, decoded, mixed, type Sound, type SoundChannels, type SoundInput} from './sound';

/**
 * Reads a sound: samples with their rate, an `AudioBuffer`, or a file as bytes, as a `Blob` or by its URL, in Node by
 * its path too. Files other than WAV are decoded by the browser. Channels are averaged.
 *
 * @param sound the sound.
 * @param name what to call it in errors.
 * @param options a `signal` that ends the reading of a URL.
 * @returns its samples and their rate.
 * @throws LoRAError `ERR_OPTION` if it is no sound; `ERR_DAMAGED` if a file cannot be read; `ERR_UNSUPPORTED` if it is
 *     not a WAV file and there is no browser to decode it.
 * @example
 *     const {samples, sampleRate} = await readSound(input.files[0]);
 * @experimental
 */
export async function readSound(
  sound: SoundInput,
  name = 'The sound',
  options: Pick<CallOptions, 'signal'> = {},
): Promise<Sound> {
  const given: unknown = sound;
  if (given instanceof Uint8Array || given instanceof ArrayBuffer) {
    const bytes = given instanceof Uint8Array ? given : new Uint8Array(given);
    return isWav(bytes) ? readWav(bytes) : mixedOf(await decoded(bytes, name));
  }
  if (typeof given === 'string' || given instanceof URL) {
    return readSound(await bytesOf(await fetched(given, options), options), name);
  }
  if (typeof Blob === 'function' && given instanceof Blob) {
    return readSound(new Uint8Array(await given.arrayBuffer()), name);
  }
  const {getChannelData, numberOfChannels} = (given ?? {}) as Partial<SoundChannels>;
  if (typeof getChannelData === 'function' && typeof numberOfChannels === 'number') {
    return mixedOf(given as SoundChannels);
  }
  if (typeof given !== 'object' || given === null || !('samples' in given)) {
    throw new LoRAError(
      `${name} must be {samples, sampleRate}, an AudioBuffer, a WAV file as bytes or a Blob, or its URL; got ${kindOf(given)}.`,
    );
  }
  checkSound(given, name);
  return given;
}

function mixedOf(sound: SoundChannels): Sound {
  const channels = Array.from({length: sound.numberOfChannels}, (_, channel) => sound.getChannelData(channel));
  return {samples: mixed(channels), sampleRate: sound.sampleRate};
}
