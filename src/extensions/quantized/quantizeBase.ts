import * as tf from '@tensorflow/tfjs';
import {asLoRAError, checkOptions, LoRAError, show, throwFaults} from '../../platform/errors';
import {headOf, isInHead, markHead} from '../../core/head/headPlace';
import {plainClass} from '../../core/layers/adaptation';
import {checkConfig, type LayerMatcher, type LayerPredicate} from '../../core/model/config';
import {firstNaming, inventory, lineOf, select, unmatched} from '../../core/model/targets';
import {copyStructure} from '../../core/rewire/record';
import {rewire} from '../../core/rewire/rewire';
import {checkModel, checkNotAdapted, type Site, sitesOf} from '../../core/rewire/walk';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {ConvLayer} from '../../platform/tfjs/layerFields';
import {namedWeights, replaceValue, shareWeights} from '../../platform/tfjs/weights';
import {type BlockMatrix, quantized, wordCount} from './formats/blockMatrix';
import {type BlockFormat, type BlockFormatName, formatNamed} from './formats/formats';
import {BLOCKS} from './layers/blockLayer';
import {QuantizedConv2D} from './layers/quantizedConv2d';
import {QuantizedDense} from './layers/quantizedDense';
import {QuantizedEmbedding} from './layers/quantizedEmbedding';
import {quantize4, quantize8, type Quantize} from './formats/quantize';

/** What `quantizeBase` quantises, and how. */
export interface QuantizeOptions {
  /** How many bits a number has, beside a float16 for 32 of them: 8 (Q8_0 of GGUF) or 4 (Q4_0). */
  bits: 8 | 4;
  /**
   * The layers to quantise. Default: `'all'`, every Dense, Embedding and 1×1 Conv2D that takes less memory so, other
   * than those of a new head.
   */
  targets?: 'all' | readonly LayerMatcher[] | LayerPredicate;
  /** Layers to leave as they are, though `targets` names them. */
  exclude?: readonly LayerMatcher[] | LayerPredicate;
}

const WAYS = new Map<unknown, {name: BlockFormatName; quantize: Quantize}>([
  [8, {name: 'Q8_0', quantize: quantize8}],
  [4, {name: 'Q4_0', quantize: quantize4}],
]);

/** A layer that can be quantised. */
interface Quantizable {
  /** The class of the layer of blocks. */
  className: string;
  /** Its kernel, and the name of it. */
  weight: string;
  kernel: tf.LayerVariable;
  matrix: BlockMatrix;
  /** Whether a column of the kernel is a row of the matrix. */
  turned: boolean;
}

/**
 * A new model with the kernels of Dense layers and 1×1 convolutions, and the tables of embeddings, held in blocks of 8
 * or 4 bits: 32 numbers of a row share a scale, `w ≈ d·q`. It takes a quarter or a seventh of the memory, predicts and
 * is adapted as before, and its quantised weights never train. The given model is not changed, and shares what is not
 * quantised: dispose it to gain the memory.
 *
 *     const base = await quantizeBase(model, {bits: 8});
 *     const adapted = applyLoRA(base, {rank: 8});
 *
 * @returns a promise, since the weights are read from the backend.
 * @throws LoRAError if the model is adapted, an option does not exist, a target names nothing or nothing that can be
 *     quantised, or a weight is NaN or too large for a float16 scale.
 */
export async function quantizeBase(model: tf.LayersModel, options: QuantizeOptions): Promise<tf.LayersModel> {
  checkModel(model);
  checkOptions(options, {bits: true, targets: true, exclude: true});
  const {bits, targets, exclude} = options;
  const way = WAYS.get(bits);
  if (way === undefined) {
    throw new LoRAError(`bits must be 8 or 4, got ${show(bits)}.`);
  }
  checkConfig({...(targets !== undefined && {targets}), ...(exclude !== undefined && {exclude})});
  const sites = sitesOf(model);
  checkNotAdapted(sites);
  const chosen = choose(model, sites, options, formatNamed(way.name) as BlockFormat);
  const words = new Map<tf.layers.Layer, Int32Array>();
  for (const [{path, layer}, found] of chosen) {
    words.set(layer, await quantizedWords(path, found, way.quantize));
  }
  const byLayer = new Map([...chosen].map(([{layer}, found]) => [layer, found]));
  const rebuilt = rewire(model, {
    replace: ({layer}, entry) => {
      const found = byLayer.get(layer);
      return found === undefined
        ? entry
        : {className: found.className, config: {...entry.config, blocks: {name: way.name}}};
    },
    transfer: ({layer}, replacement) => {
      const found = byLayer.get(layer);
      if (found === undefined) {
        shareWeights(layer, replacement);
      } else {
        giveBlocks(layer, replacement, words.get(layer) as Int32Array);
      }
      if (!replacement.trainable) {
        // Made with `trainable: false`, a layer does not tell its variables, and a custom training loop reads those.
        replacement.trainable = false;
      }
    },
  });
  copyStructure(model, rebuilt);
  markHead(rebuilt, headOf(model));
  return rebuilt;
}

/** The layers to quantise. */
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
    const found = quantizableOf(site.layer, format);
    const asked = firstNaming(named, site);
    const fits =
      found !== undefined && !isInHead(head, site) && wordCount(found.matrix) < found.matrix.rows * found.matrix.width;
    if (found !== undefined && (targets === 'all' ? fits : asked !== undefined)) {
      chosen.set(site, found);
    }
  }
  for (const {sites: all, faults: own} of named) {
    if (all.size > 0 && own.length === 0 && ![...all].some(site => chosen.has(site) || firstNaming(left, site))) {
      faults.push(...[...all].map(({path, layer}) => `Layer "${path}" ${whyNot(layer)}`));
    }
  }
  if (chosen.size === 0 && faults.length === 0) {
    faults.push(`There is nothing to quantise. ${inventory(sites)}`);
  }
  const like = missing.flatMap(({closest}) => closest);
  throwFaults(missing.length > 0 ? [...faults, inventory(sites, like)] : faults, 'ERR_MISFIT');
  return chosen;
}

function whyNot(layer: tf.layers.Layer): string {
  const known = 'Dense, Embedding, and Conv2D of size 1×1 without strides';
  return `is a ${layer.getClassName()}; what can be quantised are ${known}.`;
}

/** How a layer is quantised; `undefined` if it is not built, or cannot be. */
function quantizableOf(layer: tf.layers.Layer, format: BlockFormat): Quantizable | undefined {
  const weights = namedWeights(layer);
  const of = (className: string, weight: string, turned: boolean): Quantizable | undefined => {
    const kernel = weights.get(weight);
    const [first = 0, second = 0] = kernel?.shape.slice(-2) as number[];
    const [rows, width] = turned ? [second, first] : [first, second];
    return kernel && {className, weight, kernel, turned, matrix: {format, rows, width}};
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

async function quantizedWords(
  path: string,
  {kernel, matrix, turned}: Quantizable,
  quantize: Quantize,
): Promise<Int32Array> {
  const values = await kernel.read().data();
  const {rows, width} = matrix;
  const numberAt = (row: number, column: number) =>
    values[turned ? column * rows + row : row * width + column] as number;
  try {
    return quantized(matrix, quantize, numberAt);
  } catch (error) {
    throw new LoRAError(`Layer "${path}" ${asLoRAError(error, '').message}`, {cause: error});
  }
}

/** Gives a layer of blocks its blocks, and the bias of the layer that it stands for. */
function giveBlocks(layer: tf.layers.Layer, replacement: tf.layers.Layer, words: Int32Array): void {
  const own = namedWeights(layer);
  for (const [name, variable] of namedWeights(replacement)) {
    if (name === BLOCKS) {
      tf.tidy(() => replaceValue(variable, tf.tensor1d(words, 'int32')));
    } else {
      replaceValue(variable, (own.get(name) as tf.LayerVariable).read());
    }
  }
}
