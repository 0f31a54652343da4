import * as tf from '@tensorflow/tfjs';
import type {LayerConfig} from '../layers/layerConfig';
import {scalingOf} from '../methods/lora';
import {methodOf} from '../methods/registry';
import {type Adapter, type AdapterConfig, makeAdapter} from './adapter';
import {checkCombination, type CombineOptions, mergingOf} from './combineOptions';
import type {Joint, JointLayer, Member, WeightedAdapter} from './joint';
import {rankLimitOf, type WeightFactors} from './layerTensors';
import {matricesOf, mergeFactors, type Merging, type Product, reduced, sumOfProducts, type Term} from './mixing';

/**
 * A new adapter from several, layer by layer. Where only some of them adapt a layer, the others count as an update of
 * 0. Ranks, alphas and rank stabilisation may differ. The adapters are not changed.
 *
 * - `'exact'`: `Σ wᵢ·sᵢ·Aᵢ·Bᵢ` to rounding. The factors stand side by side, so the ranks add up; a sum above
 *   min(fan-in, fan-out) is rewritten without loss. Weights may be negative. (PEFT's `cat`.)
 * - `'ties'` (arXiv 2306.01708): trims each adapter to its largest entries, elects a sign for each entry, and takes the
 *   mean of those that agree, `Σ wᵢ·xᵢ / count`. Weights must be positive; the election does not look at them.
 * - `'dare'` (arXiv 2311.03099): drops entries at random, rescales the others by `1 / density`, and adds up, `Σ wᵢ·xᵢ`.
 *
 * `'ties'` and `'dare'` work on `A` and `B` separately, with weights `√|wᵢ·sᵢ|`, as PEFT's `ties` and `dare_linear` do.
 * That is quick, and makes sense for adapters of one rank that started from the same `A`. {@link compressAdapter}
 * applies them to the updates themselves.
 *
 * Weights that an adapter brings in full (layers in `trainable`, bases and biases that trained) are taken unchanged
 * from the one adapter that brings them, whatever its weight.
 *
 * @throws LoRAError if an option is missing or belongs to another method, or the adapters do not match: other classes
 *     or shapes, different new heads, or a weight that more than one brings in full. A line for each reason.
 */
export function combineAdapters(parts: readonly WeightedAdapter[], options: CombineOptions = {}): Adapter {
  const joint = checkCombination(parts, options);
  const merging = mergingOf(options);
  try {
    return scoped(() =>
      assemble(
        joint,
        joint.layers.map(layer => combineLayer(layer, merging)),
      ),
    );
  } finally {
    joint.dispose();
  }
}

function combineLayer(layer: JointLayer, merging: Merging | undefined): Combined {
  if (merging !== undefined) {
    const rank = layer.members[0]?.config.rank ?? 1;
    return unscaled(
      rank,
      eachWeight(layer, terms => mergeFactors(terms, merging)),
    );
  }
  return (
    alone(layer) ??
    unscaled(
      rankOf(layer),
      eachWeight(layer, terms => reduced(sumOfProducts(terms))),
    )
  );
}

/** What `combine` makes of each weight of a layer. */
function eachWeight(layer: JointLayer, combine: (terms: Term[]) => Product): WeightFactors[] {
  return firstFactors(layer).map(({prefix, a, b}, i) => ({prefix, ...shaped(combine(termsOf(layer, i)), {a, b})}));
}

/** A layer of the result: its rank and strength, and its factors. */
export interface Combined {
  strength: Pick<LayerConfig, 'rank' | 'alpha' | 'rankStabilized'>;
  factors: WeightFactors[];
}

/** A layer that one adapter alone brings: its own factors, the weight in `alpha`. */
export function alone({members: [member, ...others]}: JointLayer): Combined | undefined {
  if (member === undefined || others.length > 0) {
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

/** A layer whose factors contain their strength: alpha is the rank. */
export function unscaled(rank: number, factors: WeightFactors[]): Combined {
  return {strength: {rank, alpha: rank, rankStabilized: false}, factors};
}

export function termsOf({members}: JointLayer, i: number): Term[] {
  return members.map(({config, weight, factors}) => {
    const scaling = scalingOf(config);
    return {...matricesOf(factors[i] as WeightFactors), scaling, weight, strength: scaling * weight};
  });
}

export function firstFactors({members}: JointLayer): WeightFactors[] {
  return members[0]?.factors ?? [];
}

/** A product as factors with the axes that other factors of the weight have. */
export function shaped({a, b}: Product, like: {a: tf.Tensor; b: tf.Tensor}): {a: tf.Tensor; b: tf.Tensor} {
  return {
    a: tf.reshape(a, [...like.a.shape.slice(0, -1), a.shape[1]]),
    b: tf.reshape(b, [b.shape[0], ...like.b.shape.slice(1)]),
  };
}

/** The ranks of the adapters together, or what the layer holds if that is less. */
export function rankOf(layer: JointLayer): number {
  const ranks = layer.members.reduce((total, {config}) => total + config.rank, 0);
  return Math.min(ranks, limitOfLayer(layer));
}

export function limitOfLayer(layer: JointLayer): number {
  return Math.max(...firstFactors(layer).map(rankLimitOf));
}

/** The adapter of layers that were combined. It shares their buffers. */
export function assemble({layers, trainable, biases, full, head}: Joint, combined: readonly Combined[]): Adapter {
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

/** Runs `f` and frees the tensors that it made, other than those that it kept with `tf.keep`. */
export function scoped<T>(f: () => T): T {
  tf.engine().startScope();
  try {
    return f();
  } finally {
    tf.engine().endScope();
  }
}
