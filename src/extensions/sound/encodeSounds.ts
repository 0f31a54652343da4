import * as tf from '@tensorflow/tfjs';
import {checkOptions, LoRAError, misfitError, show, tooLargeError} from '../../platform/errors';
import {type CallOptions, checkCallOptions} from '../../platform/signals';
import {checkModel} from '../../platform/tfjs/checkModel';
import {tensorsFor} from '../transformers/net/modelInputs';
import {encodeInputs, inputsIn, loadedPreprocessor, preprocessorText} from '../transformers/net/preprocessorKey';
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
  /** The features, and the mask if the model takes one, in the order of the model's inputs. */
  inputs: tf.Tensor[];
  /** `[sounds, frames, mels]`; for wav2vec2 and HuBERT `[sounds, samples]`. */
  features: tf.Tensor;
  /**
   * 1 for samples, 0 for padding, `[sounds, samples]`, if the model takes a mask. All 1 if the preprocessor does not
   * tell padding apart.
   */
  attentionMask?: tf.Tensor2D;
}

/** The name of the input that says which samples count. */
const MASK = 'attention_mask';

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
 * @returns the model's `inputs`: the features, and a mask for models that take one. Both have a name too. Dispose of
 *     both after use.
 * @throws LoRAError `ERR_OPTION` if a sound is none, or there is no preprocessor; `ERR_DAMAGED` if a file cannot be
 *     read; `ERR_UNSUPPORTED` if a key of the preprocessor is not supported; `ERR_MISFIT` if a sound is too short for a
 *     frame; `ERR_TOO_LARGE` if the features would have more than 2²⁸ values; `ERR_ABORTED` if the signal was aborted.
 * @example
 *     const {inputs} = await encodeSounds(model, files);
 *     const logits = model.predict(inputs);
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
  if (!(model instanceof tf.GraphModel)) {
    checkModel(model);
  }
  const {preprocessor = loadedPreprocessor(model), truncate = true} = options;
  const text = await preprocessorText(preprocessor, 'sound');
  if (typeof truncate !== 'boolean') {
    throw new LoRAError(`truncate must be true or false, got ${show(truncate)}.`);
  }
  const {readSoundPreprocessor} = await import('./preprocessor');
  const settings = readSoundPreprocessor(text);
  if (!truncate && settings.kind === 'ast') {
    throw new LoRAError('truncate: false is for a Whisper; an AST has positions for no longer sounds.');
  }
  const list = inputsIn<SoundInput>('sound', sounds);
  const samplesOf = async (sound: SoundInput, name: string) =>
    resample(await readSound(sound, name, options.signal && {signal: options.signal}), settings.sampleRate).samples;
  const untruncated = truncate ? undefined : await Promise.all(list.map((sound, i) => samplesOf(sound, `Sound ${i}`)));
  if (settings.kind === 'whisper') {
    settings.length = Math.max(settings.length, ...(untruncated ?? []).map(({length}) => length));
  }
  let longest = 0;
  const made = await encodeInputs('sound', list, options, async (sound, name, i) => {
    const values = featuresOf(untruncated?.[i] ?? (await samplesOf(sound, name)), settings, name);
    longest = Math.max(longest, values.length);
    checkSize(longest, list.length);
    return values;
  });
  if (settings.kind !== 'raw') {
    const features = stacked(made, settings.frames.filters.length);
    return {inputs: [features], features};
  }
  const {features, mask} = paddedRows(made, settings);
  const takesMask = settings.hasMask || (!(model instanceof tf.GraphModel) && model.inputNames.includes(MASK));
  const masks = takesMask ? {attentionMask: tf.tensor2d(mask, features.shape, 'int32')} : {};
  const named = {input_values: features, ...(masks.attentionMask && {[MASK]: masks.attentionMask})};
  return {inputs: tensorsFor(model, named), features, ...masks};
}

function checkSize(most: number, count: number): void {
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

/** Samples of several sounds, padded to the longest, and which of them count. */
function paddedRows(
  made: readonly Float32Array[],
  {normalizes, hasMask, padding}: Settings<'raw'>,
): {features: tf.Tensor2D; mask: Int32Array} {
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
  const mask = new Int32Array(made.length * length);
  made.forEach((samples, i) => mask.fill(1, i * length, i * length + (hasMask ? samples.length : length)));
  return {features: tf.tensor2d(values, [made.length, length]), mask};
}

/** Samples with mean 0 and variance 1. */
function normalized(samples: Float32Array): Float32Array {
  const mean = samples.reduce((sum, value) => sum + value, 0) / samples.length;
  const variance = samples.reduce((sum, value) => sum + (value - mean) ** 2, 0) / samples.length;
  return samples.map(value => (value - mean) / Math.sqrt(variance + 1e-7));
}
