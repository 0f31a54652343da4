import type * as tf from '@tensorflow/tfjs';
import {checkOptions, kindOf, LoRAError, show, throwFaults} from '../../../platform/errors';
import type {FiniteOptions} from '../../../platform/formats/numbers';
import type {FileBytes} from '../../../platform/formats/encodeSafetensors';
import {type CallOptions, checkCallOptions} from '../../../platform/signals';
import {checkModel} from '../../../platform/tfjs/checkModel';
import {whileMerged} from '../../../core/model/whileMerged';
import type {ONNXSource} from '../file/onnxSource';
import type {LoadONNXOptions} from '../import/fromONNX';
import {writeFolder} from './folder';

/** How a model is written into the file that it was imported from. */
export interface ToONNXOptions extends LoadONNXOptions, FiniteOptions {
  /**
   * Whether updates are merged into quantized matrices too, which become float32. With false, they are written as two
   * small products each, and the quantized matrices stay unchanged. Default: true.
   */
  merge?: boolean;
}

/** How a model is written as a new file. */
export interface NewONNXOptions extends FiniteOptions, CallOptions {
  /** The type in which weights are stored. With `'float16'` they are read as float32. Defaults to `'float32'`. */
  dtype?: 'float32' | 'float16';
  /** Whether to write all files that transformers.js loads of an encoder or a language model. Default: false. */
  folder?: boolean;
  /** With `folder`: the tokenizer that `loadTransformer` returned, whose files are written too. Default: none. */
  tokenizer?: unknown;
  /**
   * With `folder`: whether updates are merged. With false, the adapter is beside the products, as `adaptONNX` puts it
   * there. Default: true.
   */
  merge?: boolean;
  /** With `{merge: false}`: where the values of the adapter are, as for `adaptONNX`. Default: `'inputs'`. */
  mode?: 'inputs' | 'data';
}

/**
 * Writes a model as an ONNX file. An adapted model is merged first; it stays as it is.
 *
 * With the file that the model was imported from by `fromONNX`, only initializers that changed are rewritten, with
 * their types. All other bytes stay, so metadata, names, and extensions of the file survive. If several nodes share an
 * initializer and one changed, it gets a copy. A quantized matrix that changed becomes float32, unless updates are
 * written separately: `{merge: false}`.
 *
 * Without a file, a model of stock layers, or of layers of `tfjs-lora/transformers`, becomes a new file of opset 17.
 * Its inputs and outputs keep their names, types and layout, and dynamic sizes stay dynamic.
 *
 * With `{folder: true}`, an encoder of `loadTransformer`, or a language model, becomes the files that transformers.js
 * loads: `onnx/model.onnx` with the names, types and layout that it expects, `config.json`, the files of the
 * `tokenizer`, and `preprocessor_config.json` if the model was loaded with it. A language model has a cache of keys and
 * values, and its weights are in `onnx/model.onnx_data`. With `{merge: false}`, its graph is the base's with the
 * adapter beside the products: `adaptONNX` gives the values of this adapter, and of others, for its inputs.
 *
 * @param model an adapted or merged model, or any other.
 * @param source the file that the model was imported from. Leave it out for a model that was not imported.
 * @param options external data, limits, progress, the type of weights of a new file, and whether values may be NaN or
 *   infinite.
 * @returns the bytes of the file. Changed tensors that were external are in it. With `folder`, the contents of all
 *   files by their paths.
 * @throws LoRAError with the code ERR_MISFIT if the model was not imported from this file, or has no config for its
 *     folder; ERR_UNSUPPORTED if it has layers that cannot be written, with a line for each; ERR_NUMERIC if a weight is
 *     not finite or too large.
 * @example
 *     const tuned = await toONNX(model, file);
 *     const fresh = await toONNX(tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3]})]}));
 *     const files = await toONNX(encoder, {folder: true, tokenizer}); // {'onnx/model.onnx': …, …}
 * @experimental
 */
export async function toONNX(
  model: tf.LayersModel,
  options: NewONNXOptions & {folder: true},
): Promise<Record<string, string | FileBytes>>;
export async function toONNX(model: tf.LayersModel, options?: NewONNXOptions & {folder?: false}): Promise<FileBytes>;
export async function toONNX(model: tf.LayersModel, source: ONNXSource, options?: ToONNXOptions): Promise<FileBytes>;
export async function toONNX(
  model: tf.LayersModel,
  source: ONNXSource | NewONNXOptions = {},
  options: ToONNXOptions = {},
): Promise<FileBytes | Record<string, string | FileBytes>> {
  if (!areOptions(source)) {
    checkOptions(options, {
      ...{externalData: true, signal: true, maxBytes: true, onProgress: true, allowNonFinite: true, merge: true},
    });
    if (![undefined, true, false].includes(options.merge)) {
      throw new LoRAError(`merge must be true or false, got ${show(options.merge)}.`);
    }
    checkCallOptions(options);
    checkModel(model);
    const {writeIntoFile} = await import('./writeFile');
    return writeIntoFile(model, source, options);
  }
  checkOptions(source, {
    ...{dtype: true, allowNonFinite: true, signal: true, onProgress: true, folder: true, tokenizer: true},
    ...{merge: true, mode: true},
  });
  checkCallOptions(source);
  const {dtype = 'float32', folder = false, tokenizer, merge = true, mode} = source;
  throwFaults([
    ...(['float32', 'float16'].includes(dtype) ? [] : [`dtype must be 'float32' or 'float16', got ${show(dtype)}.`]),
    ...(typeof folder === 'boolean' ? [] : [`folder must be true or false, got ${show(folder)}.`]),
    ...(folder || tokenizer === undefined ? [] : ['tokenizer is for {folder: true}.']),
    ...(typeof merge === 'boolean' ? [] : [`merge must be true or false, got ${show(merge)}.`]),
    ...(folder || merge ? [] : ['{merge: false} is for {folder: true}, or for the file that the model came from.']),
    ...([undefined, 'inputs', 'data'].includes(mode) ? [] : [`mode must be 'inputs' or 'data', got ${show(mode)}.`]),
    ...(mode === undefined || !merge ? [] : ['mode is for {merge: false}.']),
  ]);
  checkModel(model);
  if (folder) {
    return writeFolder(model, source);
  }
  const {writeModel} = await import('./writeModel');
  return whileMerged(model, async merged => (await writeModel(merged, source)).file);
}

/** Whether an argument is a plain object, which no file is. */
function areOptions(source: ONNXSource | NewONNXOptions): source is NewONNXOptions {
  if ((source as unknown) === null) {
    throw new LoRAError(`The second argument must be a file or options, got ${kindOf(source)}.`);
  }
  return Object.getPrototypeOf(source) === Object.prototype;
}
