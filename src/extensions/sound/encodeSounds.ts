import * as tf from '@tensorflow/tfjs';
import {checkOptions, LoRAError, misfitError, show, tooLargeError} from '../../platform/errors';
import {jsonText} from '../../platform/formats/explained';
import {type CallOptions, checkCallOptions, stepsOf} from '../../platform/signals';
import {checkModel} from '../../platform/tfjs/checkModel';
import {PREPROCESSOR} from '../transformers/net/preprocessorKey';
import {frameCount, melFrames} from './melFrames';
import type {Preprocessing} from './preprocessor';
import {readSound} from './readSound';
import {resample} from './resample';
import type {SoundInput} from './sound';

/** How sounds are encoded. */
export interface EncodeSoundsOptions extends CallOptions {
  /** The model's `preprocessor_config.json`: its text, or its content. Default: the one loaded with the model. */
  preprocessor?: string | Readonly<Record<string, unknown>>;
  /**
   * Whether longer sounds are cut to the window of the model, 30 s for Whisper. With false, features of a Whisper are
   * as long as the longest sound. Default: true.
   */
  truncate?: boolean;
}

/** Encoded sounds. */
export interface EncodedSounds {
  /** `[sounds, frames, mels]`; for wav2vec2 and HuBERT `[sounds, samples]`. */
  features: tf.Tensor;
  /** 1 for samples, 0 for padding, `[sounds, samples]`, if the preprocessor says that the model takes a mask. */
  attentionMask?: tf.Tensor2D;
}

/** The number of values of one tensor. */
const MAX_VALUES = 2 ** 28;

/**
 * Encodes sounds as a model takes them: resampled and converted to features as its `preprocessor_config.json` says.
 * Supported are the preprocessors of Whisper (log-mel spectrograms of 30 s), AST (filter banks of Kaldi), and wav2vec2
 * and HuBERT (samples). Features have the time before the mel filters; those of transformers for Whisper are
 * transposed.
 *
 * A sound is `{samples, sampleRate}`, an `AudioBuffer`, or a WAV file as bytes, as a `Blob` or by its URL, in Node by
 * its path too; in browsers also a file in another format that the browser decodes. The channels of a sound are
 * averaged.
 *
 * @param model the model that takes the sounds, adapted or not: `loadTransformer` has read its preprocessor. It is not
 *     run.
 * @param sounds a sound, or a list of them.
 * @param options another preprocessor, such as for a model of another origin, and whether longer sounds are cut.
 * @returns the features, and a mask for models that take one. Dispose of both after use.
 * @throws LoRAError `ERR_OPTION` if a sound is none, or there is no preprocessor; `ERR_DAMAGED` if a file cannot be
 *     read; `ERR_UNSUPPORTED` if a key of the preprocessor is not supported; `ERR_MISFIT` if a sound is too short for a
 *     frame; `ERR_TOO_LARGE` if the features would have more than 2²⁸ values; `ERR_ABORTED` if the signal was aborted.
 * @example
 *     const {features} = await encodeSounds(model, files);
 *     const logits = model.predict(features);
 * @experimental
 */
export async function encodeSounds(
  model: tf.LayersModel | tf.GraphModel,
  sounds: SoundInput | readonly SoundInput[],
  options: EncodeSoundsOptions = {},
): Promise<EncodedSounds> {
  checkOptions(
    options,
    {preprocessor: true, truncate: true, signal: true, onProgress: true},
    'encodeSounds(model, files, {preprocessor})',
  );
  checkCallOptions(options);
  const preprocessor = preprocessorOf(model, options);
  const {truncate = true} = options;
  if (typeof truncate !== 'boolean') {
    throw new LoRAError(`truncate must be true or false, got ${show(truncate)}.`);
  }
  const {readSoundPreprocessor} = await import('./preprocessor');
  const settings = readSoundPreprocessor(await jsonText(preprocessor, 'preprocessor_config.json'));
  if (!truncate && settings.kind === 'ast') {
    throw new LoRAError('truncate: false is for a Whisper; an AST has positions for no longer sounds.');
  }
  const list: readonly SoundInput[] = Array.isArray(sounds)
    ? (sounds as readonly SoundInput[])
    : [sounds as SoundInput];
  if (list.length === 0) {
    throw new LoRAError('sounds must be a sound or a list of sounds, got an empty list.');
  }
  const samplesOf = async (sound: SoundInput, name: string) =>
    resample(await readSound(sound, name, options.signal && {signal: options.signal}), settings.sampleRate).samples;
  const untruncated = truncate ? undefined : await Promise.all(list.map((sound, i) => samplesOf(sound, `Sound ${i}`)));
  if (settings.kind === 'whisper') {
    settings.length = Math.max(settings.length, ...(untruncated ?? []).map(({length}) => length));
  }
  const step = stepsOf(options);
  const made: Float32Array[] = [];
  for (const [i, sound] of list.entries()) {
    await step({done: i, total: list.length, what: 'encoding sounds'});
    const name = list.length === 1 ? 'The sound' : `Sound ${i}`;
    made.push(featuresOf(untruncated?.[i] ?? (await samplesOf(sound, name)), settings, name));
    checkSize(made, list.length);
  }
  await step({done: list.length, total: list.length, what: 'encoding sounds'});
  return settings.kind === 'raw'
    ? paddedRows(made, settings)
    : {features: stacked(made, settings.frames.filters.length)};
}

/** The preprocessor of a model, which is untrusted. */
function preprocessorOf(
  model: tf.LayersModel | tf.GraphModel,
  {preprocessor}: EncodeSoundsOptions,
): string | Readonly<Record<string, unknown>> {
  const isGraph = model instanceof tf.GraphModel;
  if (!isGraph) {
    checkModel(model);
  }
  const metadata = isGraph ? {} : {...model.getUserDefinedMetadata()};
  const config = preprocessor ?? (metadata as Record<string, unknown>)[PREPROCESSOR];
  if (typeof config !== 'string' && (typeof config !== 'object' || config === null)) {
    throw new LoRAError(
      'The model was loaded without a preprocessor_config.json, which says how to encode sounds. Pass it as ' +
        '{preprocessor}, here or to loadTransformer.',
    );
  }
  return config as string | Readonly<Record<string, unknown>>;
}

function checkSize(made: readonly Float32Array[], count: number): void {
  const most = made.reduce((length, values) => Math.max(length, values.length), 0);
  if (most * count > MAX_VALUES) {
    throw tooLargeError(
      `${count} sounds would be ${most * count} values; at most ${MAX_VALUES} fit one tensor. Encode fewer at a time.`,
    );
  }
}

/** The features of a sound; the samples themselves, if these are padded before they are normalized. */
function featuresOf(samples: Float32Array, settings: Preprocessing, name: string): Float32Array {
  switch (settings.kind) {
    case 'whisper':
      return logMelOfWhisper(samples, settings);
    case 'ast':
      return filterBanks(samples, settings, name);
    case 'raw':
      if (samples.length === 0) {
        throw misfitError(`${name} has no samples.`);
      }
      return samples;
  }
}

type Settings<K extends Preprocessing['kind']> = Extract<Preprocessing, {kind: K}>;

function logMelOfWhisper(samples: Float32Array, {length, padding, frames}: Settings<'whisper'>): Float32Array {
  const paddedSamples = new Float32Array(length).fill(padding);
  paddedSamples.set(samples.subarray(0, length));
  const mels = frames.filters.length;
  // The last frame is left out.
  const logs = melFrames(paddedSamples, frames)
    .subarray(0, (frameCount(length, frames) - 1) * mels)
    .map(energy => Math.log10(Math.max(energy, 1e-10)));
  const floor = logs.reduce((most, value) => Math.max(most, value), -Infinity) - 8;
  return Float32Array.from(logs, value => (Math.max(value, floor) + 4) / 4);
}

/** The lowest energy: the difference between 1 and the next 32-bit float. */
const EPSILON = 2 ** -23;

function filterBanks(
  samples: Float32Array,
  {length, frames, mean, deviation}: Settings<'ast'>,
  name: string,
): Float32Array {
  const {window, hop, filters} = frames;
  if (samples.length < window.length) {
    throw misfitError(`${name} has ${samples.length} samples; a frame needs ${window.length}. Pad it with zeros.`);
  }
  // Frames beyond the length are not computed.
  const energies = melFrames(samples.subarray(0, (length - 1) * hop + window.length), frames);
  const values = new Float32Array(length * filters.length).fill(-mean / deviation);
  energies.forEach((energy, i) => {
    values[i] = (Math.log(Math.max(energy, EPSILON)) - mean) / deviation;
  });
  return values;
}

function stacked(made: readonly Float32Array[], mels: number): tf.Tensor3D {
  const length = (made[0] as Float32Array).length;
  const values = new Float32Array(made.length * length);
  made.forEach((features, i) => values.set(features, i * length));
  return tf.tensor3d(values, [made.length, length / mels, mels]);
}

/** Samples of several sounds, padded to the longest, with a mask if the model takes one. */
function paddedRows(made: readonly Float32Array[], {normalizes, hasMask, padding}: Settings<'raw'>): EncodedSounds {
  const length = made.reduce((most, samples) => Math.max(most, samples.length), 0);
  const values = new Float32Array(made.length * length);
  made.forEach((samples, i) => {
    const row = values.subarray(i * length, (i + 1) * length).fill(padding);
    row.set(samples);
    if (normalizes) {
      const counted = hasMask ? row.subarray(0, samples.length) : row;
      counted.set(normalized(counted));
    }
  });
  const features = tf.tensor2d(values, [made.length, length]);
  if (!hasMask) {
    return {features};
  }
  const mask = new Int32Array(made.length * length);
  made.forEach((samples, i) => mask.fill(1, i * length, i * length + samples.length));
  return {features, attentionMask: tf.tensor2d(mask, [made.length, length], 'int32')};
}

/** Samples with mean 0 and variance 1. */
function normalized(samples: Float32Array): Float32Array {
  const mean = samples.reduce((sum, value) => sum + value, 0) / samples.length;
  const variance = samples.reduce((sum, value) => sum + (value - mean) ** 2, 0) / samples.length;
  return samples.map(value => (value - mean) / Math.sqrt(variance + 1e-7));
}
