import * as tf from '@tensorflow/tfjs';
import {checkOptions, LoRAError, show} from '../../platform/errors';
import {truncatedSVD} from '../ops/svd';
import type {Adapter} from './adapter';
import {checkCombination} from './combineOptions';
import {assemble, type Combined, limitOfLayer, rankOf, scoped, termsOf} from './combine';
import {compressLayer} from './compress';
import type {JointLayer} from './joint';
import {rankLimitOf} from './layerTensors';
import {sumOfProducts} from './mixing';

/** How ranks are allocated. */
export interface AllocateOptions {
  /** The most numbers that the factors of all layers may have together. */
  budget: number;
}

/** One more rank of a layer: the squares of the singular values that it adds, and the numbers that it takes. */
interface Step {
  energy: number;
  numbers: number;
}

/**
 * A new adapter of at most a given size, whose ranks go where they count most. The singular values of all updates are
 * sorted by `σ²` for each number that they take, and the first of them are kept. Layers that get no rank are left out.
 * The adapter is not changed.
 *
 *     const small = await allocateRanks(getAdapter(model), {budget: 20_000});
 *
 * It needs no training: train at a higher rank than is needed, then cut. What an adapter brings in full (layers in
 * `trainable`, biases) does not count. (The idea of AdaLoRA, Zhang et al., arXiv 2303.10512, without its training.)
 *
 * @returns a promise, since the singular values are read from the backend.
 * @throws LoRAError if the budget is no positive number or too small for a rank of any layer, or an update is no
 * low-rank product.
 */
export async function allocateRanks(adapter: Adapter, options: AllocateOptions): Promise<Adapter> {
  checkOptions(options, {budget: true});
  const {budget} = options;
  if (!Number.isFinite(budget) || budget <= 0) {
    throw new LoRAError(`budget must be a positive number of parameters, got ${show(budget)}.`);
  }
  const joint = checkCombination([{adapter, weight: 1}], {});
  const combined: Combined[] = [];
  try {
    const steps: Step[][] = [];
    for (const layer of joint.layers) {
      steps.push(await stepsOf(layer));
    }
    const ranks = allocate(steps, budget);
    const chosen = joint.layers.filter((_, i) => (ranks[i] ?? 0) > 0);
    if (chosen.length === 0) {
      const least = Math.min(...steps.flatMap(([first]) => (first === undefined ? [] : [first.numbers])));
      throw new LoRAError(
        `budget must be at least ${least}, which is what one rank of the smallest layer takes, got ${budget}.`,
      );
    }
    for (const layer of chosen) {
      combined.push(await compressLayer(layer, ranks[joint.layers.indexOf(layer)] ?? 1, undefined));
    }
    return scoped(() => assemble({...joint, layers: chosen}, combined));
  } finally {
    tf.dispose(combined.flatMap(({factors}) => factors.flatMap(({a, b}) => [a, b])));
    joint.dispose();
  }
}

/** What each further rank of a layer brings. A layer with several weights has one rank for all of them. */
async function stepsOf(layer: JointLayer): Promise<Step[]> {
  const steps = Array.from({length: Math.min(rankOf(layer), limitOfLayer(layer))}, (): Step => ({
    energy: 0,
    numbers: 0,
  }));
  const {factors = []} = layer.members[0] ?? {};
  for (const [i, {a, b}] of factors.entries()) {
    const [left, right] = tf.tidy(() => {
      const product = sumOfProducts(termsOf(layer, i));
      return [product.a, product.b] as [tf.Tensor2D, tf.Tensor2D];
    });
    const rank = Math.min(steps.length, rankLimitOf({a, b}));
    const {u, s, v} = await truncatedSVD([left, right], rank);
    const values = await s.data();
    tf.dispose([left, right, u, s, v]);
    for (const [k, step] of steps.slice(0, rank).entries()) {
      step.energy += (values[k] ?? 0) ** 2;
      step.numbers += left.shape[0] + right.shape[1];
    }
  }
  return steps;
}

/**
 * The rank of each layer. Of the steps that the budget has room for, the next is always the one with the most energy
 * for each number.
 */
function allocate(steps: readonly Step[][], budget: number): number[] {
  const ranks = steps.map(() => 0);
  for (let left = budget; ;) {
    let best = -1;
    for (const [i, ofLayer] of steps.entries()) {
      const [next, known] = [ofLayer[ranks[i] ?? 0], steps[best]?.[ranks[best] ?? 0]];
      const fits = next !== undefined && next.numbers <= left && next.energy > 0;
      if (fits && (known === undefined || next.energy / next.numbers > known.energy / known.numbers)) {
        best = i;
      }
    }
    if (best < 0) {
      return ranks;
    }
    left -= steps[best]?.[ranks[best] ?? 0]?.numbers ?? 0;
    ranks[best] = (ranks[best] ?? 0) + 1;
  }
}
