import * as tf from '@tensorflow/tfjs';
import {checkOptions, LoRAError, numericError, show, throwFaults} from '../../platform/errors';
import {type CallOptions, checkCallOptions, stepsOf} from '../../platform/signals';
import {headOf, isInHead, markHead} from '../../core/head/headPlace';
import {plainClass} from '../../core/layers/adaptation';
import {checkConfig, type LayerMatcher, type LayerPredicate} from '../../core/model/config';
import {firstNaming, inventory, lineOf, select, unmatched} from '../../core/model/targets';
import {copyStructure} from '../../core/rewire/record';
import {rewire} from '../../core/rewire/rewire';
import {checkNotAdapted, type Site, sitesOf} from '../../core/rewire/walk';
import {checkModel} from '../../platform/tfjs/checkModel';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {ConvLayer} from '../../platform/tfjs/layerFields';
import {namedWeights, replaceValue, shareWeights} from '../../platform/tfjs/weights';
import {type BlockMatrix, quantized, packedSize} from './formats/blockMatrix';
import {type BlockFormat, type BlockFormatName, formatNamed} from './formats/formats';
import {BLOCKS} from './layers/blockLayer';
import {QuantizedConv2D} from './layers/quantizedConv2d';
import {QuantizedDense} from './layers/quantizedDense';
import {QuantizedEmbedding} from './layers/quantizedEmbedding';
import {quantize4, quantize8, type Quantize} from './formats/quantize';

/** What `quantizeBase` quantizes, and how. */
export interface QuantizeOptions extends CallOptions {
  /** The bits of a weight, plus a float16 scale for every 32: 8 (Q8_0 of GGUF) or 4 (Q4_0). */
  bits: 8 | 4;
  /** The layers to quantize. Default: `'all'`, every Dense, Embedding and 1×1 Conv2D that shrinks, except new heads. */
  targets?: 'all' | readonly LayerMatcher[] | LayerPredicate;
  /** Layers to leave as they are, even if `targets` names them. */
  exclude?: readonly LayerMatcher[] | LayerPredicate;
}

const WAYS = new Map<unknown, {name: BlockFormatName; quantize: Quantize}>([
  [8, {name: 'Q8_0', quantize: quantize8}],
  [4, {name: 'Q4_0', quantize: quantize4}],
]);

interface Quantizable {
  /** The class of the quantized layer. */
  className: string;
  /** The name of its kernel. */
  weight: string;
  kernel: tf.LayerVariable;
  matrix: BlockMatrix;
  /** Whether the matrix is the transposed kernel. */
  transposed: boolean;
}

/**
 * Quantizes a model: the new model holds the kernels of Dense layers and 1×1 convolutions, and the tables of
 * embeddings, in 8 or 4 bits. 32 weights of a row share a scale, `w ≈ d·q`. The weights take a quarter or a seventh of
 * the memory and never train. Prediction and adaptation work as before.
 *
 * @param model a model that is not adapted. It is not changed, and shares the weights that are not quantized with the
 *     new model: dispose of it to free the memory.
 * @param options how many `bits`, and which layers.
 * @returns the new model.
 * @throws LoRAError `ERR_NOT_ADAPTED` if the model is adapted; `ERR_MISFIT` if a target names nothing, or a layer that
 *     cannot be quantized; `ERR_NUMERIC` if a weight is NaN or too large for a float16 scale; `ERR_ABORTED`. Then
 *     nothing is left in memory.
 * @example
 * const base = await quantizeBase(model, {bits: 8});
 * const adapted = applyLoRA(base, {rank: 8});
 * @experimental
 */
export async function quantizeBase(model: tf.LayersModel, options: QuantizeOptions): Promise<tf.LayersModel> {
  checkModel(model);
  checkOptions(options, {bits: true, targets: true, exclude: true, signal: true, onProgress: true});
  const {bits, targets, exclude} = options;
  const way = WAYS.get(bits);
  if (way === undefined) {
    throw new LoRAError(`bits must be 8 or 4, got ${show(bits)}.`);
  }
  checkConfig({...(targets !== undefined && {targets}), ...(exclude !== undefined && {exclude})});
  checkCallOptions(options);
  const sites = sitesOf(model);
  checkNotAdapted(sites);
  const chosen = choose(model, sites, options, formatNamed(way.name) as BlockFormat);
  const total = [...chosen.values()].reduce((sum, {matrix}) => sum + matrix.rows * matrix.width, 0);
  const step = stepsOf(options);
  const packed = new Map<tf.layers.Layer, Int32Array>();
  let before = 0;
  for (const [{path, layer}, quantizable] of chosen) {
    const {rows, width} = quantizable.matrix;
    const onRow = (row: number) => step({done: before + row * width, total, what: 'quantizing weights'});
    packed.set(layer, await quantizedWeights(path, quantizable, way.quantize, onRow));
    before += rows * width;
  }
  await step({done: total, total, what: 'quantizing weights'});
  const byLayer = new Map([...chosen].map(([{layer}, quantizable]) => [layer, quantizable]));
  const rebuilt = rewire(model, {
    replace: ({layer}, entry) => {
      const quantizable = byLayer.get(layer);
      return quantizable === undefined
        ? entry
        : {className: quantizable.className, config: {...entry.config, blocks: {name: way.name}}};
    },
    transfer: ({layer}, replacement) => {
      const quantizable = byLayer.get(layer);
      if (quantizable === undefined) {
        shareWeights(layer, replacement);
      } else {
        giveBlocks(layer, replacement, packed.get(layer) as Int32Array);
      }
      if (!replacement.trainable) {
        // A layer made with `trainable: false` hides its variables from custom training loops.
        replacement.trainable = false;
      }
    },
  });
  copyStructure(model, rebuilt);
  markHead(rebuilt, headOf(model));
  return rebuilt;
}

function choose(
  model: tf.LayersModel,
  sites: readonly Site[],
  {targets = 'all', exclude = []}: QuantizeOptions,
  format: BlockFormat,
): Map<Site, Quantizable> {
  const named = targets === 'all' ? [] : select('target', targets, sites);
  const left = select('exclude', exclude, sites);
  const entries = [...named, ...left];
  const missing = unmatched(entries, sites);
  const head = headOf(model);
  const faults = [...entries.flatMap(entry => entry.faults), ...missing.map(lineOf)];
  const chosen = new Map<Site, Quantizable>();
  for (const site of sites) {
    if (firstNaming(left, site) !== undefined) {
      continue;
    }
    const quantizable = quantizableOf(site.layer, format);
    const asked = firstNaming(named, site);
    const fits =
      quantizable !== undefined &&
      !isInHead(head, site) &&
      packedSize(quantizable.matrix) < quantizable.matrix.rows * quantizable.matrix.width;
    if (quantizable !== undefined && (targets === 'all' ? fits : asked !== undefined)) {
      chosen.set(site, quantizable);
    }
  }
  for (const {sites: all, faults: faultsOfTarget} of named) {
    if (
      all.size > 0 &&
      faultsOfTarget.length === 0 &&
      ![...all].some(site => chosen.has(site) || firstNaming(left, site))
    ) {
      faults.push(...[...all].map(({path, layer}) => `Layer "${path}": ${whyNot(layer)}`));
    }
  }
  if (chosen.size === 0 && faults.length === 0) {
    faults.push(`There is nothing to quantize. ${inventory(sites)}`);
  }
  const like = missing.flatMap(({closest}) => closest);
  throwFaults(missing.length > 0 ? [...faults, inventory(sites, like)] : faults, 'ERR_MISFIT');
  return chosen;
}

function whyNot(layer: tf.layers.Layer): string {
  const supported = 'Dense, Embedding, and Conv2D of size 1×1 without strides';
  return `A ${layer.getClassName()} cannot be quantized. Only ${supported} can.`;
}

/** Returns how to quantize a layer; `undefined` if it is not built, or cannot be quantized. */
function quantizableOf(layer: tf.layers.Layer, format: BlockFormat): Quantizable | undefined {
  const weights = namedWeights(layer);
  const of = (className: string, weight: string, transposed: boolean): Quantizable | undefined => {
    const kernel = weights.get(weight);
    const [first = 0, second = 0] = kernel?.shape.slice(-2) as number[];
    const [rows, width] = transposed ? [second, first] : [first, second];
    return kernel && {className, weight, kernel, transposed, matrix: {format, rows, width}};
  };
  switch (plainClass(layer.getClassName())) {
    case 'Dense':
      return of(QuantizedDense.className, 'kernel', true);
    case 'Embedding':
      return of(QuantizedEmbedding.className, 'embeddings', false);
    case 'Conv2D': {
      const {kernelSize, strides} = fieldsOf<ConvLayer>(layer);
      return [...kernelSize, ...strides].every(size => size === 1)
        ? of(QuantizedConv2D.className, 'kernel', true)
        : undefined;
    }
    default:
      return undefined;
  }
}

async function quantizedWeights(
  path: string,
  {kernel, matrix, transposed}: Quantizable,
  quantize: Quantize,
  onRow: (row: number) => Promise<void>,
): Promise<Int32Array> {
  const values = await kernel.read().data();
  const {rows, width} = matrix;
  const valueAt = (row: number, column: number) =>
    values[transposed ? column * rows + row : row * width + column] as number;
  const packed = await quantized(matrix, quantize, valueAt, onRow);
  if (packed === undefined) {
    throw numericError(`Layer "${path}" has weights that cannot be quantized: NaN, or too large for a float16 scale.`);
  }
  return packed;
}

/** Sets the blocks of a quantized layer, and the bias of the layer that it replaces. */
function giveBlocks(layer: tf.layers.Layer, replacement: tf.layers.Layer, packed: Int32Array): void {
  const weights = namedWeights(layer);
  for (const [name, variable] of namedWeights(replacement)) {
    if (name === BLOCKS) {
      tf.tidy(() => replaceValue(variable, tf.tensor1d(packed, 'int32')));
    } else {
      replaceValue(variable, (weights.get(name) as tf.LayerVariable).read());
    }
  }
}
