import * as tf from '@tensorflow/tfjs';
import {showShape} from '../../platform/errors';
import {methodOf} from '../methods/registry';
import {type Adapter, layerConfigAt} from './adapter';

export interface WeightFactors {
  /** What precedes the parameter in a tensor's name: nothing, or the weight's name and a slash. */
  prefix: string;
  /** `[...fan-in axes, rank]`. */
  a: tf.Tensor;
  /** `[rank, ...out axes]`. */
  b: tf.Tensor;
}

/** The parameters of the update of one weight in an adapter, by name. */
interface WeightParameters {
  path: string;
  prefix: string;
  parameters: Record<string, tf.Tensor>;
}

export interface LayerTensors {
  factors: WeightFactors[];
  /** All other tensors by name: weights that the adapter holds in full. */
  full: Record<string, tf.Tensor>;
}

/** The tensors of an adapter by layer path, factors in the order of their names, and a line for each fault. */
export function tensorsByLayer({config, tensors}: Adapter): {
  layers: Map<string, LayerTensors>;
  updates: Map<string, WeightParameters>;
  faults: string[];
} {
  const layers = new Map<string, LayerTensors>();
  const missing = new Set(Object.keys(config.layers));
  const faults: string[] = [];
  const updates = new Map<string, WeightParameters>();
  for (const path of [...missing, ...config.trainable, ...(config.biases ?? [])]) {
    layers.set(path, {factors: [], full: {}});
  }
  for (const [name, tensor] of Object.entries(tensors)) {
    const path = ownerOf(name, layers) ?? '';
    const layer = layers.get(path);
    missing.delete(path);
    const local = name.slice(path.length + 1);
    const update = layerConfigAt(config, path);
    const {parameterNames} = methodOf(update?.method);
    const parameter = update && parameterNames.find(end => local === end || local.endsWith(`/${end}`));
    if (layer === undefined) {
      faults.push(`${name}: belongs to no layer of the adapter`);
    } else if (parameter === undefined) {
      layer.full[local] = tensor;
    } else {
      const prefix = local.slice(0, -parameter.length);
      const layerUpdate = updates.get(`${path}/${prefix}`) ?? {path, prefix, parameters: {}};
      layerUpdate.parameters[parameter] = tensor;
      updates.set(`${path}/${prefix}`, layerUpdate);
    }
  }
  for (const [name, {path, prefix, parameters}] of updates) {
    const method = methodOf(layerConfigAt(config, path)?.method);
    const absent = method.parameterNames.filter(parameterName => parameters[parameterName] === undefined);
    const factors = method.parametersOf && method.factorsOf?.(parameters);
    if (method.parametersOf === undefined) {
      faults.push(`${path}: method ${method.name}, whose updates cannot be added`);
    } else if (absent.length > 0) {
      faults.push(`${name}${Object.keys(parameters).join()}: without a ${absent.join(' and a ')}`);
    } else if (factors !== undefined && factors.b.shape[0] !== factors.a.shape[factors.a.rank - 1]) {
      faults.push(
        `${name}: factors of different ranks, ${showShape(factors.a.shape)} and ${showShape(factors.b.shape)}`,
      );
    } else if (factors !== undefined) {
      layers.get(path)?.factors.push({prefix, ...factors});
    }
  }
  for (const {factors} of layers.values()) {
    factors.sort((one, other) => (one.prefix < other.prefix ? -1 : 1));
  }
  missing.forEach(path => faults.push(`${path}: no factors in the adapter`));
  return {layers, updates, faults};
}

/** The greatest rank that a weight can use, `min(fan-in, fan-out)`. */
export function rankLimitOf({a, b}: Pick<WeightFactors, 'a' | 'b'>): number {
  return Math.min(tf.util.sizeFromShape(a.shape.slice(0, -1)), tf.util.sizeFromShape(b.shape.slice(1)));
}

/** Names within a layer, such as `forward_lstm/recurrent_kernel/lora_A`, have fewer parts. */
const MAX_PARTS = 16;

/**
 * The layer of an adapter's tensor: the longest path that begins the tensor's name. The cost does not grow with the
 * number or length of the names, which a file may exaggerate.
 */
export function ownerOf(name: string, paths: {has(path: string): boolean}): string | undefined {
  let slash = name.length;
  for (let depth = 0; depth < MAX_PARTS && slash > 0; depth++) {
    slash = name.lastIndexOf('/', slash - 1);
    const path = name.slice(0, Math.max(slash, 0));
    if (slash >= 0 && paths.has(path)) {
      return path;
    }
  }
  return undefined;
}
