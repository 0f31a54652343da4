import {checkNumber, damagedError, kindOf, LoRAError, prefixed, unsupportedError} from '../../platform/errors';
import {explained} from '../../platform/formats/explained';

/** A mono sound. */
export interface Sound {
  /** Values from −1 to 1. */
  readonly samples: Float32Array;
  /** Samples a second. */
  readonly sampleRate: number;
}

/** The channels of an `AudioBuffer` of the Web Audio API. */
export interface SoundChannels {
  /** How many channels there are. */
  readonly numberOfChannels: number;
  /** Samples per second. */
  readonly sampleRate: number;
  /** The samples of a channel, from −1 to 1. */
  getChannelData(channel: number): Float32Array;
}

/** A sound for `encodeSounds`: samples with their rate, an `AudioBuffer`, a file, or its URL; in Node a path too. */
export type SoundInput = Sound | SoundChannels | Uint8Array | ArrayBuffer | Blob | URL | string;

/** Rates from which sounds are resampled. */
const RATES = [1000, 384_000] as const;

/** @throws LoRAError if it is no rate of samples. */
export function checkRate(name: string, rate: unknown): asserts rate is number {
  const fits = Number.isInteger(rate) && Number(rate) >= RATES[0] && Number(rate) <= RATES[1];
  checkNumber(name, rate, fits, `a whole number of samples a second from ${RATES[0]} to ${RATES[1]}`);
}

/** @throws LoRAError if it is no mono sound. */
export function checkSound(sound: unknown, name: string): asserts sound is Sound {
  const {samples, sampleRate} = (sound ?? {}) as Partial<Sound>;
  if (!(samples instanceof Float32Array)) {
    throw new LoRAError(`${name} must be {samples, sampleRate} with samples in a Float32Array, got ${kindOf(sound)}.`);
  }
  checkRate(`sampleRate of ${name}`, sampleRate);
}

export function mixed(channels: readonly Float32Array[]): Float32Array {
  const [first] = channels as readonly [Float32Array];
  if (channels.length === 1) {
    return first;
  }
  return first.map((_, i) => channels.reduce((sum, channel) => sum + (channel[i] as number), 0) / channels.length);
}

/**
 * Decodes a compressed file with the browser's decoder.
 *
 * @throws LoRAError if there is none, or it cannot read the file.
 */
export async function decoded(bytes: Uint8Array, name: string): Promise<SoundChannels> {
  if (typeof OfflineAudioContext !== 'function') {
    const error = unsupportedError(
      `${name} is not a WAV file. Other files are decoded in browsers only. Convert it to WAV.`,
    );
    throw await named(error, bytes, name, 'a WAV file, the only kind that is read outside of browsers');
  }
  try {
    // The decoder resamples to the rate of its context. It takes the buffer away, so it gets a copy.
    return await new OfflineAudioContext(1, 1, 48_000).decodeAudioData(bytes.slice().buffer);
  } catch (cause) {
    const error = damagedError(`${name} is neither a WAV file nor a file that this browser can decode.`, {cause});
    throw await named(error, bytes, name, 'a sound that this browser can decode');
  }
}

/** The error for a file: if its first bytes show another format than the expected one, one that says so. */
async function named(error: LoRAError, bytes: Uint8Array, name: string, expected: string): Promise<unknown> {
  const other = await explained(error, bytes, expected);
  return other === error ? error : prefixed(`${name}: `, other);
}
