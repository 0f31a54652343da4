import {kindOf, LoRAError} from '../../platform/errors';
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
  const untypedSound: unknown = sound;
  if (untypedSound instanceof Uint8Array || untypedSound instanceof ArrayBuffer) {
    const bytes = untypedSound instanceof Uint8Array ? untypedSound : new Uint8Array(untypedSound);
    return isWav(bytes) ? readWav(bytes) : mixedOf(await decoded(bytes, name));
  }
  if (typeof untypedSound === 'string' || untypedSound instanceof URL) {
    const {bytesOf, fetched} = await import('../../core/storage/sources');
    return readSound(await bytesOf(await fetched(untypedSound, options), options), name);
  }
  if (typeof Blob === 'function' && untypedSound instanceof Blob) {
    return readSound(new Uint8Array(await untypedSound.arrayBuffer()), name);
  }
  const {getChannelData, numberOfChannels} = (untypedSound ?? {}) as Partial<SoundChannels>;
  if (typeof getChannelData === 'function' && typeof numberOfChannels === 'number') {
    return mixedOf(untypedSound as SoundChannels);
  }
  if (typeof untypedSound !== 'object' || untypedSound === null || !('samples' in untypedSound)) {
    throw new LoRAError(
      `${name} must be {samples, sampleRate}, an AudioBuffer, a WAV file as bytes or a Blob, or its URL; got ` +
        `${kindOf(sound)}.`,
    );
  }
  checkSound(untypedSound, name);
  return untypedSound;
}

function mixedOf(sound: SoundChannels): Sound {
  const channels = Array.from({length: sound.numberOfChannels}, (_, channel) => sound.getChannelData(channel));
  return {samples: mixed(channels), sampleRate: sound.sampleRate};
}
