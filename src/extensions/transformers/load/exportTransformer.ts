import * as tf from '@tensorflow/tfjs';
import {checkOptions, type KnownOptions, listed, misfitError, showShape, throwFaults} from '../../../platform/errors';
import {type FileBytes, encodeSafetensors, type NamedValues} from '../../../platform/formats/encodeSafetensors';
import {type CallOptions, checkCallOptions, stepsOf} from '../../../platform/signals';
import {whileMerged} from '../../../core/model/whileMerged';
import {adaptationOf} from '../../../core/layers/registry';
import {type Site, sitesOf} from '../../../core/rewire/walk';
import {checkModel} from '../../../platform/tfjs/checkModel';
import {floatTypeOf, type SafetensorsOptions} from '../../../core/storage/safetensors';
import {namedWeights} from '../../../platform/tfjs/weights';
import {planOf} from './assemble';
import {configText} from './configText';
import {recordedModel} from './recordedModel';
import {UNCOMPUTED} from '../net/hubRecord';
import {TiedDense} from '../layers/tiedDense';
import {fileNameOf} from '../net/net';
import type {Expected} from '../net/netSources';

/** A model in the format of the hub. */
export interface ExportedTransformer {
  /** The text of `config.json`. */
  config: string;
  /** `model.safetensors`. */
  weights: FileBytes;
}

/** Options of `exportTransformer`. */
export type ExportTransformerOptions = SafetensorsOptions & CallOptions;

const OPTIONS: KnownOptions<ExportTransformerOptions> = {
  ...{dtype: true, allowNonFinite: true},
  ...{signal: true, onProgress: true},
};

/**
 * Exports a model of `loadTransformer` or `loadGGUF`, trained or not, in the hub's format: `config.json` and
 * `model.safetensors`, for `from_pretrained` of transformers and for `loadTransformer`. Put both in one folder with the
 * files of the tokenizer. An adapter is merged; the model itself does not change.
 *
 * Quantized weights are written as their values. A tied output head is written once, as the token embedding. Tensors of
 * the class that the model does not use, such as the pooler with `pooling: 'mean'`, are written as they were read,
 * unless tfjs saved and loaded the model in between.
 *
 * For transformers.js, which loads ONNX, use `toONNX(model, {folder: true})` of `tfjs-lora/onnx`.
 *
 * @param model of `loadTransformer` or `loadGGUF`, adapted, merged, or as it was loaded.
 * @param options `dtype` is `'float32'` (the default), `'float16'` or `'bfloat16'`.
 * @returns the contents of both files.
 * @throws LoRAError `ERR_MISFIT` if the model was not loaded by this library or has other layers than its config says,
 *     with a line for each; `ERR_NUMERIC` if a value is not finite, or too large for the type; `ERR_ABORTED`.
 * @example
 *     const {config, weights} = await exportTransformer(adapted, {dtype: 'bfloat16'});
 *     const files = [new File([config], 'config.json'), new File([weights], 'model.safetensors')];
 * @experimental
 */
export async function exportTransformer(
  model: tf.LayersModel,
  options: ExportTransformerOptions = {},
): Promise<ExportedTransformer> {
  checkOptions(options, OPTIONS);
  checkCallOptions(options);
  floatTypeOf(options.dtype ?? 'float32');
  checkModel(model);
  return whileMerged(model, plain => written(plain, options));
}

async function written(
  model: tf.LayersModel,
  {dtype = 'float32', signal, onProgress, ...finite}: ExportTransformerOptions,
): Promise<ExportedTransformer> {
  const {record, architecture, purpose, config} = await recordedModel(model);
  const sites = new Map(sitesOf(model).map(site => [site.path, site]));
  const blocks = architecture.blocks(config);
  config.check();
  if (blocks > sites.size) {
    throw misfitError(`The model's config says that there are ${blocks} blocks, but it has ${sites.size} layers.`);
  }
  // What the files had decides about some modules, also about those that the config switches off.
  const uncomputed: unknown[] = [record.uncomputed ?? []].flat();
  const names = new Set<unknown>([...[...sites.keys()].map(path => fileNameOf(path, 'weight')), ...uncomputed]);
  const isTied = (name: string) =>
    sites.get(name.replace(/\.weight$/, '').replaceAll('.', '/'))?.layer.getClassName() === TiedDense.className;
  const sources = {tied: true, has: (name: string) => names.has(name) && !isTied(name)};
  const {expected} = planOf({architecture, config, purpose, sources});
  config.check();
  const stored = tensorsOf(expected);
  const variableOf = checkLayers(stored, sites);
  const tensors: Record<string, NamedValues> = {};
  const step = stepsOf({...(signal && {signal}), ...(onProgress && {onProgress})});
  let done = 0;
  for (const [name, {parts, shape}] of stored) {
    await step({done: done++, total: stored.size, what: 'writing tensors'});
    const tensor = tf.tidy(() => {
      const values = parts.map(weight => inFile(variableOf(weight).read(), weight));
      return values.length === 1 ? (values[0] as tf.Tensor) : tf.concat(values, 0);
    });
    const data = await tensor.data<'float32'>().finally(() => tensor.dispose());
    tensors[name] = {shape, data};
    if (name.endsWith('.running_mean')) {
      tensors[name.replace(/running_mean$/, 'num_batches_tracked')] = {shape: [], data: new BigInt64Array(1)};
    }
  }
  Object.assign(tensors, Object.fromEntries(UNCOMPUTED.get(record) ?? []));
  const isLost = (name: unknown): name is string => typeof name === 'string' && !Object.hasOwn(tensors, name);
  const lost = uncomputed.filter(isLost);
  if (lost.length > 0) {
    console.warn(
      `The model's files have tensors that it does not use: ${listed(lost)}. Models that tfjs saved have ` +
        'lost them, and from_pretrained initializes them at random.',
    );
  }
  const {torch_dtype: _, ...said} = record.config as Record<string, unknown>;
  return {
    config: configText({...said, ...untied(expected), dtype}),
    weights: encodeSafetensors(tensors, {dtype: floatTypeOf(dtype), metadata: {format: 'pt'}, ...finite}),
  };
}

/** A tensor of the file, and the weights that it consists of. */
interface Written {
  shape: number[];
  parts: Expected[];
}

function tensorsOf(expected: readonly Expected[]): Map<string, Written> {
  const owned = new Set(expected.map(({fileName}) => fileName));
  const withKernel = new Set(expected.flatMap(({weight, layer}) => (weight === 'kernel' ? layer : [])));
  const written = new Map<string, Written>();
  for (const weight of expected) {
    const {fileName, orElse = fileName, rowSlice, layer} = weight;
    const write = (name: string) => {
      const parts = [...(written.get(name)?.parts ?? []), weight];
      const [rows = 1, ...rowShape] = weight.shape;
      written.set(name, {shape: weight.shape.length === 0 ? [] : [rows * parts.length, ...rowShape], parts});
    };
    if (rowSlice !== undefined) {
      // Parts are separate, except for those that the hub joins too.
      write(rowSlice.joined ? orElse : fileName);
    } else if (weight.weight === 'bias' && withKernel.has(layer)) {
      // The bias of a separate head has its own name. Classes for masked tokens have the shared one too, and ignore it.
      new Set([fileName, orElse]).forEach(write);
    } else {
      write(owned.has(orElse) ? fileName : orElse);
    }
  }
  return written;
}

function checkLayers(
  written: ReadonlyMap<string, Written>,
  sites: ReadonlyMap<string, Site>,
): (weight: Expected) => tf.LayerVariable {
  const faults: string[] = [];
  const variables = new Map<Expected, tf.LayerVariable>();
  const used = new Set<string>();
  for (const expectedWeight of [...written.values()].flatMap(({parts}) => parts)) {
    const {layer, weight, shape} = expectedWeight;
    const site = sites.get(layer);
    const variable = site && weightOf(site.layer, weight);
    used.add(layer);
    if (variable === undefined) {
      faults.push(`${layer}: no layer of the model with a weight "${weight}"`);
    } else if (tf.util.sizeFromShape(variable.shape as number[]) !== tf.util.sizeFromShape(shape)) {
      faults.push(`${layer}: "${weight}" is ${showShape(variable.shape)}, and ${showShape(shape)} in files`);
    } else {
      variables.set(expectedWeight, variable);
    }
  }
  for (const [path, {layer}] of sites) {
    if (!used.has(path) && layer.weights.length > 0) {
      faults.push(`${path}: a ${layer.getClassName()}, which is not in the config`);
    }
  }
  throwFaults(faults, 'ERR_MISFIT', 'The model does not match its config:');
  return weight => variables.get(weight) as tf.LayerVariable;
}

/** The values of a weight, also if it is quantized. */
function weightOf(layer: tf.layers.Layer, name: string): tf.LayerVariable | undefined {
  const plainWeight = namedWeights(layer).get(name);
  return (
    plainWeight ??
    adaptationOf(layer)
      ?.weights(layer)
      .find(weight => weight.name === name)?.variable
  );
}

/** The values of a weight in the order of its file. */
function inFile(value: tf.Tensor, {axes, shape}: Expected): tf.Tensor {
  if (axes === undefined) {
    return tf.reshape(value, shape);
  }
  const transposed = tf.reshape(
    value,
    axes.map(axis => shape[axis] ?? 1),
  );
  return tf.transpose(
    transposed,
    axes.map((_, axis) => axes.indexOf(axis)),
  );
}

/** The config's field for a head that is no longer tied. */
function untied(expected: readonly Expected[]): {tie_word_embeddings?: false} {
  const isApart = expected.some(
    ({weight, orElse, rowSlice}) => weight === 'kernel' && orElse !== undefined && !rowSlice,
  );
  return isApart ? {tie_word_embeddings: false} : {};
}
