import * as tf from '@tensorflow/tfjs';
import {type Adapter, layerConfigAt} from './adapter';

/** The factors of one weight in an adapter. */
export interface WeightFactors {
  /** What stands before `lora_A` in the names of a layer's tensors: nothing, or the weight's name and a slash. */
  prefix: string;
  /** `[...fan-in axes, rank]`. */
  a: tf.Tensor;
  /** `[rank, ...out axes]`. */
  b: tf.Tensor;
}

/** What an adapter holds for one layer. */
export interface LayerTensors {
  factors: WeightFactors[];
  /** All else by name: weights that the adapter brings in full. */
  full: Record<string, tf.Tensor>;
}

const FACTOR = /^(?<prefix>(?:.*\/)?)lora_(?<which>[AB])$/;

/**
 * The tensors that an adapter holds for each of its layers, adapted or brought in full, by path, factors in the order of their names; and a
 * line for each that is not as it should be.
 */
export function tensorsByLayer({config, tensors}: Adapter): {layers: Map<string, LayerTensors>; faults: string[]} {
  const layers = new Map<string, LayerTensors>();
  const missing = new Set(Object.keys(config.layers));
  const faults: string[] = [];
  for (const path of [...missing, ...config.trainable, ...(config.biases ?? [])]) {
    layers.set(path, {factors: [], full: {}});
  }
  for (const [name, tensor] of Object.entries(tensors)) {
    const path = ownerOf(name, layers) ?? '';
    const layer = layers.get(path);
    missing.delete(path);
    const local = name.slice(path.length + 1);
    const prefix = layerConfigAt(config, path) === undefined ? undefined : FACTOR.exec(local)?.groups?.prefix;
    if (layer === undefined) {
      faults.push(`${name}: of no layer of the adapter`);
    } else if (prefix === undefined) {
      layer.full[local] = tensor;
    } else if (local.endsWith('A')) {
      const b = tensors[`${path}/${prefix}lora_B`];
      if (b === undefined || b.shape[0] !== tensor.shape[tensor.rank - 1]) {
        faults.push(`${name}: without a lora_B of the same rank`);
      } else {
        layer.factors.push({prefix, a: tensor, b});
      }
    } else if (tensors[`${path}/${prefix}lora_A`] === undefined) {
      faults.push(`${name}: without a lora_A`);
    }
  }
  for (const {factors} of layers.values()) {
    factors.sort((one, other) => (one.prefix < other.prefix ? -1 : 1));
  }
  missing.forEach(path => faults.push(`${path}: no factors in the adapter`));
  return {layers, faults};
}

/** The greatest rank of which a weight makes use, `min(fan-in, fan-out)`. */
export function limitOf({a, b}: Pick<WeightFactors, 'a' | 'b'>): number {
  return Math.min(tf.util.sizeFromShape(a.shape.slice(0, -1)), tf.util.sizeFromShape(b.shape.slice(1)));
}

/** More than the names that layers give their weights have, such as `forward_lstm/recurrent_kernel/lora_A`. */
const MAX_PARTS = 16;

/**
 * The layer to which a tensor of an adapter belongs: of those that are given, the one with the longest path before the tensor's name. Its
 * cost depends neither on how many there are nor on how often a name is divided, since a file may name very many, and long ones.
 */
export function ownerOf(name: string, paths: {has(path: string): boolean}): string | undefined {
  let slash = name.length;
  for (let part = 0; part < MAX_PARTS && slash > 0; part++) {
    slash = name.lastIndexOf('/', slash - 1);
    const path = name.slice(0, Math.max(slash, 0));
    if (slash >= 0 && paths.has(path)) {
      return path;
    }
  }
  return undefined;
}
