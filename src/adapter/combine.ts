import * as tf from '@tensorflow/tfjs';
import type {LayerConfig} from '../layers/adaptation';
import {scalingOf} from '../methods/method';
import {methodOf} from '../methods/table';
import {type Adapter, type AdapterConfig, makeAdapter} from './adapter';
import {checkMethod, checkOptions, type CombineOptions, mergingOf} from './combineOptions';
import {join, type Joint, type JointLayer, type Member, type WeightedAdapter} from './joint';
import {limitOf, type WeightFactors} from './layerTensors';
import {
  approximated,
  matricesOf,
  mergeFactors,
  mergeUpdates,
  type Merging,
  type Product,
  reduced,
  sum,
  type Term,
} from './mixing';

/**
 * A new adapter from several, layer by layer; a layer that only some of them adapt has the others' update as 0. Ranks, alphas and rank
 * stabilisation may differ. The adapters are not changed.
 *
 * - `'exact'`: `Σ wᵢ·sᵢ·Aᵢ·Bᵢ` to rounding. The factors stand side by side, so the ranks add up; a sum above min(fan-in, fan-out) is rewritten
 *   without loss. Weights may be negative. (PEFT's `cat`.)
 * - `'svd'`: the best approximation of that sum of the given rank, or less where a layer holds less.
 * - `'ties'` (arXiv 2306.01708): trims each adapter to its largest entries, elects a sign for each entry, and takes the mean of those that agree,
 *   `Σ wᵢ·xᵢ / count`. Weights must be positive; the election does not look at them.
 * - `'dare'` (arXiv 2311.03099): drops entries at random, rescales the others by `1 / density`, and adds up, `Σ wᵢ·xᵢ`.
 *
 * `'ties'` and `'dare'` are defined on the updates. With a `rank` they work on those, `sᵢ·Aᵢ·Bᵢ`, and compress the outcome (PEFT's `ties_svd`,
 * `dare_linear_svd`). Without, they work on `A` and `B` each by themselves, with weights `√|wᵢ·sᵢ|`, as PEFT's `ties` and `dare_linear` do: that
 * is quick, and makes sense for adapters of one rank that started from the same `A`.
 *
 * What comes in full, layers in `trainable`, bases and biases that trained along, is taken as it is from the one adapter that brings it, whatever
 * its weight.
 *
 * @returns the adapter; with a `rank`, a promise of it, since a small matrix is then read from the backend.
 * @throws LoRAError if an option is missing or not the method's, or the adapters do not go together: of other classes or shapes, with
 *     different new heads, or with more than one that brings a weight in full. A line for each reason.
 */
export function combineAdapters(
  parts: readonly WeightedAdapter[],
  options?: CombineOptions & {rank?: undefined},
): Adapter;
export function combineAdapters(
  parts: readonly WeightedAdapter[],
  options: CombineOptions & {rank: number},
): Promise<Adapter>;
export function combineAdapters(parts: readonly WeightedAdapter[], options: CombineOptions): Adapter | Promise<Adapter>;
export function combineAdapters(
  parts: readonly WeightedAdapter[],
  options: CombineOptions = {},
): Adapter | Promise<Adapter> {
  if (options.rank !== undefined) {
    return compressLayers(parts, options, options.rank);
  }
  const joint = prepare(parts, options);
  const merging = mergingOf(options);
  return scoped(() =>
    assemble(
      joint,
      joint.layers.map(layer => combineLayer(layer, merging)),
    ),
  );
}

/** Checks everything, before any tensor is made. */
function prepare(parts: readonly WeightedAdapter[], options: CombineOptions): Joint {
  checkOptions(options);
  const joint = join(parts);
  checkMethod(parts, joint, options);
  return joint;
}

/** A layer of the result: its rank and strength, and its factors. */
interface Combined {
  strength: Pick<LayerConfig, 'rank' | 'alpha' | 'rankStabilized'>;
  factors: WeightFactors[];
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
      eachWeight(layer, terms => reduced(sum(terms))),
    )
  );
}

async function compressLayers(
  parts: readonly WeightedAdapter[],
  options: CombineOptions,
  rank: number,
): Promise<Adapter> {
  const joint = prepare(parts, options);
  const merging = mergingOf(options);
  const layers: Combined[] = [];
  try {
    for (const layer of joint.layers) {
      layers.push(await compressLayer(layer, rank, merging));
    }
    return scoped(() => assemble(joint, layers));
  } finally {
    tf.dispose(layers.flatMap(({factors}) => factors.flatMap(({a, b}) => [a, b])));
  }
}

async function compressLayer(layer: JointLayer, asked: number, merging: Merging | undefined): Promise<Combined> {
  const single = merging === undefined && rankOf(layer) <= asked ? scoped(() => kept(alone(layer))) : undefined;
  if (single !== undefined) {
    return single;
  }
  const rank = Math.min(asked, merging === undefined ? rankOf(layer) : limitOfLayer(layer));
  const factors: WeightFactors[] = [];
  try {
    for (const [i, {prefix, a, b}] of firstFactors(layer).entries()) {
      const chain = tf.tidy(() => {
        const terms = termsOf(layer, i);
        if (merging !== undefined) {
          return [mergeUpdates(terms, merging)];
        }
        const product = sum(terms);
        return [product.a, product.b];
      });
      const product = await approximated(chain, Math.min(rank, limitOf({a, b})));
      tf.dispose(chain);
      factors.push({prefix, ...shaped(product, {a, b})});
      tf.dispose({...product});
    }
    return unscaled(rank, factors);
  } catch (error) {
    tf.dispose(factors.flatMap(({a, b}) => [a, b]));
    throw error;
  }
}

/** A layer that one adapter alone brings: its own factors, the weight in `alpha`. */
function alone({members: [member, ...others]}: JointLayer): Combined | undefined {
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

/** Factors that hold their strength themselves. */
function unscaled(rank: number, factors: WeightFactors[]): Combined {
  return {strength: {rank, alpha: rank, rankStabilized: false}, factors};
}

/** What `combine` makes of each weight of a layer. */
function eachWeight(layer: JointLayer, combine: (terms: Term[]) => Product): WeightFactors[] {
  return firstFactors(layer).map(({prefix, a, b}, i) => ({prefix, ...shaped(combine(termsOf(layer, i)), {a, b})}));
}

function termsOf({members}: JointLayer, i: number): Term[] {
  return members.map(({config, weight, factors}) => {
    const scaling = scalingOf(config);
    return {...matricesOf(factors[i] as WeightFactors), scaling, weight, strength: scaling * weight};
  });
}

function firstFactors({members}: JointLayer): WeightFactors[] {
  return members[0]?.factors ?? [];
}

/** A product in the axes of some factors of the same weight. */
function shaped({a, b}: Product, like: {a: tf.Tensor; b: tf.Tensor}): {a: tf.Tensor; b: tf.Tensor} {
  return {
    a: tf.reshape(a, [...like.a.shape.slice(0, -1), a.shape[1]]),
    b: tf.reshape(b, [b.shape[0], ...like.b.shape.slice(1)]),
  };
}

/** The ranks of the adapters together, or what the layer holds if that is less. */
function rankOf(layer: JointLayer): number {
  const ranks = layer.members.reduce((total, {config}) => total + config.rank, 0);
  return Math.min(ranks, limitOfLayer(layer));
}

function limitOfLayer(layer: JointLayer): number {
  return Math.max(...firstFactors(layer).map(limitOf));
}

function kept(layer: Combined | undefined): Combined | undefined {
  layer?.factors.forEach(({a, b}) => {
    tf.keep(a);
    tf.keep(b);
  });
  return layer;
}

/** The adapter of layers that were combined. It shares their buffers. */
function assemble({layers, trainable, biases, full, head}: Joint, combined: readonly Combined[]): Adapter {
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
      for (const [name, tensor] of Object.entries(methodOf(first.method).parametersOf({a, b}))) {
        tensors[`${path}/${prefix}${name}`] = tf.clone(tensor);
      }
    }
  });
  Object.entries(full).forEach(([name, tensor]) => (tensors[name] = tf.clone(tensor)));
  return makeAdapter(config, tensors);
}

/** Runs `f` and frees the tensors that it made, but for those that it marked to be kept. */
function scoped<T>(f: () => T): T {
  tf.engine().startScope();
  try {
    return f();
  } finally {
    tf.engine().endScope();
  }
}
