import * as tf from '@tensorflow/tfjs';
import {checkOptions, type KnownOptions, listed, misfitError, showShape, throwFaults} from '../../../platform/errors';
import {type Bytes, encodeSafetensors} from '../../../platform/formats/safetensors';
import type {Values} from '../../../platform/formats/layout';
import {adaptationOf} from '../../../core/layers/registry';
import {checkModel, checkNotAdapted, type Site, sitesOf} from '../../../core/rewire/walk';
import {floatTypeOf, type SafetensorsOptions} from '../../../core/storage/safetensors';
import {namedWeights} from '../../../platform/tfjs/weights';
import type {Pooling} from '../net/architecture';
import {chooseArchitecture} from './architectures';
import {planOf} from './assemble';
import {HubConfig} from '../net/hubConfig';
import {hubRecordOf, UNCOMPUTED} from './hubRecord';
import {TiedDense} from '../layers/tiedDense';
import {fileNameOf} from '../net/net';
import type {Expected} from '../net/netSources';

/** A model as the hub has it. */
export interface ExportedTransformer {
  /** The text of `config.json`. */
  config: string;
  /** `model.safetensors`. */
  weights: Bytes;
}

const OPTIONS: KnownOptions<SafetensorsOptions> = {dtype: true, allowNonFinite: true};

/**
 * A model of `loadTransformer` or `loadGGUF`, trained or not, as the hub has it: what belongs into `config.json` and
 * `model.safetensors`, which `from_pretrained` of transformers loads, and `loadTransformer` too. Both lie in one
 * folder, with the files of the tokenizer beside them.
 *
 *     const {config, weights} = await exportTransformer(mergeLoRA(adapted), {dtype: 'bfloat16'});
 *
 * Weights in blocks are written as the numbers that the blocks stand for. A head that shares the table of words is
 * written once, with it. Tensors of the files that the class has but the model does not compute with, such as the
 * pooler under `pooling: 'mean'`, are written as they were read, unless tfjs saved and loaded the model in between.
 *
 * @throws LoRAError if the model has an adapter (merge it first, or take it off), was not loaded by this library, or
 *     has other layers than its config says, with a line for each; if a number is not finite, or too large for the
 *     type.
 */
export async function exportTransformer(
  model: tf.LayersModel,
  options: SafetensorsOptions = {},
): Promise<ExportedTransformer> {
  checkOptions(options, OPTIONS);
  const {dtype = 'float32', ...finite} = options;
  const type = floatTypeOf(dtype);
  checkModel(model);
  const record = hubRecordOf(model);
  if (record === undefined) {
    throw misfitError(
      'The model does not say by which config it was made. Models of loadTransformer and loadGGUF do, merged and ' +
        'saved too.',
    );
  }
  const sites = new Map(sitesOf(model).map(site => [site.path, site]));
  checkNotAdapted([...sites.values()]);
  const hubConfig = HubConfig.parse(record.config as object);
  const {architecture, purpose, config} = await chooseArchitecture(hubConfig, {
    ...(record.pooling !== undefined && {pooling: record.pooling as Pooling}),
    tokenTypes: record.tokenTypes === true,
  });
  const blocks = architecture.blocks(config);
  config.check();
  if (blocks > sites.size) {
    throw misfitError(`The model's config says that there are ${blocks} blocks, and it has ${sites.size} layers.`);
  }
  const names = new Set([...sites.keys()].map(path => fileNameOf(path, 'weight')));
  const isTied = (name: string) =>
    sites.get(name.replace(/\.weight$/, '').replaceAll('.', '/'))?.layer.getClassName() === TiedDense.className;
  const sources = {tied: true, has: (name: string) => names.has(name) && !isTied(name)};
  const {expected} = planOf({architecture, config, purpose, sources});
  config.check();
  const written = tensorsOf(expected);
  const found = checkLayers(written, sites);
  const tensors: Record<string, Values> = Object.fromEntries(UNCOMPUTED.get(record) ?? []);
  for (const [name, {parts, shape}] of written) {
    const tensor = tf.tidy(() => {
      const stored = parts.map(part => inFile(found(part).read(), part));
      return stored.length === 1 ? (stored[0] as tf.Tensor) : tf.concat(stored, 0);
    });
    const data = await tensor.data<'float32'>().finally(() => tensor.dispose());
    tensors[name] = {shape, data};
  }
  const isLost = (name: unknown): name is string => typeof name === 'string' && !Object.hasOwn(tensors, name);
  const lost = [record.uncomputed ?? []].flat().filter(isLost);
  if (lost.length > 0) {
    console.warn(
      `The files that the model was loaded from have tensors that it does not compute with: ${listed(lost)}. Models that ` +
        'were saved by tfjs have lost them, and from_pretrained starts them at random.',
    );
  }
  const {torch_dtype: _, ...said} = record.config as Record<string, unknown>;
  return {
    config: `${configText({...said, ...untied(expected), dtype})}\n`,
    weights: encodeSafetensors(tensors, {dtype: type, metadata: {format: 'pt'}, ...finite}),
  };
}

/** The fields in which transformers takes no whole number without a point. */
const FLOATS = new Set([
  ...['attention_probs_dropout_prob', 'attn_logit_softcapping', 'classifier_dropout', 'final_logit_softcapping'],
  ...['hidden_dropout_prob', 'initializer_cutoff_factor', 'initializer_factor', 'initializer_range', 'layer_norm_eps'],
  ...['layer_norm_epsilon', 'layerscale_value', 'norm_eps', 'rms_norm_eps'],
]);

/** JSON as Python writes it, which tells 1.0 from 1. */
function configText(value: unknown, indent = '', isFloat = false): string {
  if (typeof value !== 'object' || value === null) {
    return isFloat && Number.isSafeInteger(value) ? `${value as number}.0` : JSON.stringify(value);
  }
  const inner = `${indent}  `;
  const isList = Array.isArray(value);
  const lines = Object.entries(value)
    .filter(([, each]) => each !== undefined)
    .map(
      ([name, each]) => inner + (isList ? '' : `${JSON.stringify(name)}: `) + configText(each, inner, FLOATS.has(name)),
    );
  const [open, close] = isList ? '[]' : '{}';
  return lines.length === 0 ? `${open}${close}` : `${open}\n${lines.join(',\n')}\n${indent}${close}`;
}

/** A tensor of the file, and the weights that it is, one behind the other. */
interface Written {
  shape: number[];
  parts: Expected[];
}

/** What the file has, by the names that models of today have. */
function tensorsOf(expected: readonly Expected[]): Map<string, Written> {
  const owned = new Set(expected.map(({fileName}) => fileName));
  const written = new Map<string, Written>();
  for (const weight of expected) {
    const {fileName, orElse = fileName, part} = weight;
    // A head that parted from the table has its own name; parts stand apart, but for those that the hub joins too.
    const name = part === undefined ? (owned.has(orElse) ? fileName : orElse) : part.joined ? orElse : fileName;
    const parts = [...(written.get(name)?.parts ?? []), weight];
    const [rows = 1, ...others] = weight.shape;
    written.set(name, {shape: weight.shape.length === 0 ? [] : [rows * parts.length, ...others], parts});
  }
  return written;
}

/** Where each weight of a model is. */
function checkLayers(
  written: ReadonlyMap<string, Written>,
  sites: ReadonlyMap<string, Site>,
): (weight: Expected) => tf.LayerVariable {
  const faults: string[] = [];
  const found = new Map<Expected, tf.LayerVariable>();
  const used = new Set<string>();
  for (const part of [...written.values()].flatMap(({parts}) => parts)) {
    const {layer, weight, shape} = part;
    const site = sites.get(layer);
    const variable = site && weightOf(site.layer, weight);
    used.add(layer);
    if (variable === undefined) {
      faults.push(`${layer}: no layer of the model with a weight "${weight}"`);
    } else if (tf.util.sizeFromShape(variable.shape as number[]) !== tf.util.sizeFromShape(shape)) {
      faults.push(`${layer}: "${weight}" is ${showShape(variable.shape)}, and ${showShape(shape)} in files`);
    } else {
      found.set(part, variable);
    }
  }
  for (const [path, {layer}] of sites) {
    if (!used.has(path) && layer.weights.length > 0) {
      faults.push(`${path}: a ${layer.getClassName()}, which the config has not`);
    }
  }
  throwFaults(faults, 'ERR_MISFIT', 'The model is not the one of its config:');
  return weight => found.get(weight) as tf.LayerVariable;
}

/** A weight of a layer as numbers, also where the layer has it in another form. */
function weightOf(layer: tf.layers.Layer, name: string): tf.LayerVariable | undefined {
  const own = namedWeights(layer).get(name);
  return (
    own ??
    adaptationOf(layer)
      ?.weights(layer)
      .find(weight => weight.name === name)?.variable
  );
}

/** A weight in the order of its file. */
function inFile(value: tf.Tensor, {axes, shape}: Expected): tf.Tensor {
  if (axes === undefined) {
    return tf.reshape(value, shape);
  }
  const turned = tf.reshape(
    value,
    axes.map(axis => shape[axis] ?? 1),
  );
  return tf.transpose(
    turned,
    axes.map((_, axis) => axes.indexOf(axis)),
  );
}

/** What the config has to say where the head has a matrix of its own and the config would have it share the table. */
function untied(expected: readonly Expected[]): {tie_word_embeddings?: false} {
  const isApart = expected.some(({weight, orElse, part}) => weight === 'kernel' && orElse !== undefined && !part);
  const sharesBias = expected.some(({weight, orElse, part}) => weight === 'bias' && orElse !== undefined && !part);
  return isApart && !sharesBias ? {tie_word_embeddings: false} : {};
}
