import * as tf from '@tensorflow/tfjs';
import type {LayerConfig} from '../layers/layerConfig';
import {scalingOf} from '../methods/lora';
import {methodOf} from '../methods/registry';
import {type Adapter, type AdapterConfig, makeAdapter} from './adapter';
import type {AlignedAdapters, AlignedLayer, Member} from './alignment';
import {rankLimitOf, type WeightFactors} from './layerTensors';
import {matricesOf, type Product, type Term} from './mixing';

/** A layer of the result: its rank and strength, and its factors. */
export interface Combined {
  strength: Pick<LayerConfig, 'rank' | 'alpha' | 'rankStabilized'>;
  factors: WeightFactors[];
}

/** A layer that only one adapter updates: its factors, with the weight in `alpha`. */
export function alone({members: [member, ...laterMembers]}: AlignedLayer): Combined | undefined {
  if (member === undefined || laterMembers.length > 0) {
    return undefined;
  }
  const {rank, alpha, rankStabilized} = member.config;
  return {
    strength: {rank, alpha: alpha * Math.abs(member.weight), rankStabilized},
    factors: member.factors.map(({prefix, a, b}) => ({
      prefix,
      a: tf.clone(a),
      b: member.weight < 0 ? tf.neg(b) : tf.clone(b),
    })),
  };
}

/** A layer whose factors include their strength: alpha is the rank. */
export function unscaled(rank: number, factors: WeightFactors[]): Combined {
  return {strength: {rank, alpha: rank, rankStabilized: false}, factors};
}

export function termsOf({members}: AlignedLayer, i: number): Term[] {
  return members.map(({config, weight, factors}) => {
    const scaling = scalingOf(config);
    return {...matricesOf(factors[i] as WeightFactors), scaling, weight, strength: scaling * weight};
  });
}

/** The factors of the first adapter, which have the axes of all others. */
export function firstFactors({members}: AlignedLayer): WeightFactors[] {
  return members[0]?.factors ?? [];
}

/** Gives the factors of a product the axes of the weight. */
export function shaped({a, b}: Product, like: {a: tf.Tensor; b: tf.Tensor}): {a: tf.Tensor; b: tf.Tensor} {
  return {
    a: tf.reshape(a, [...like.a.shape.slice(0, -1), a.shape[1]]),
    b: tf.reshape(b, [b.shape[0], ...like.b.shape.slice(1)]),
  };
}

/** The sum of the adapters' ranks, or the highest rank of the layer if that is less. */
export function rankOf(layer: AlignedLayer): number {
  const ranks = layer.members.reduce((total, {config}) => total + config.rank, 0);
  return Math.min(ranks, limitOfLayer(layer));
}

export function limitOfLayer(layer: AlignedLayer): number {
  return Math.max(...firstFactors(layer).map(rankLimitOf));
}

/** The adapter of layers that were combined. It shares their buffers. */
export function assemble(
  {layers, trainable, biases, full, head}: AlignedAdapters,
  combined: readonly Combined[],
): Adapter {
  const config: AdapterConfig = {layers: {}, trainable, ...(biases.length > 0 && {biases}), ...(head && {head})};
  const tensors: Record<string, tf.Tensor> = {};
  layers.forEach(({path, members, trainBias}, i) => {
    const {strength, factors} = combined[i] as Combined;
    const {trainBias: _, ...first} = (members[0] as Member).config;
    const freezeBaseLayer = members.every(member => member.config.freezeBaseLayer);
    config.layers[path] = {
      ...first,
      ...strength,
      freezeBaseLayer,
      ...(freezeBaseLayer && trainBias && {trainBias}),
    };
    for (const {prefix, a, b} of factors) {
      for (const [name, tensor] of Object.entries(methodOf(first.method).parametersOf?.({a, b}) ?? {})) {
        tensors[`${path}/${prefix}${name}`] = tf.clone(tensor);
      }
    }
  });
  Object.entries(full).forEach(([name, tensor]) => (tensors[name] = tf.clone(tensor)));
  return makeAdapter(config, tensors);
}

/** Runs `f` and frees the tensors that it made, except those kept with `tf.keep`. */
export function scoped<T>(f: () => T): T {
  tf.engine().startScope();
  try {
    return f();
  } finally {
    tf.engine().endScope();
  }
}
