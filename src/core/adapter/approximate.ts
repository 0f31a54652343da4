import * as tf from '@tensorflow/tfjs';
import {LoRAError, misfitError} from '../../platform/errors';
import {stepsOf} from '../../platform/signals';
import {truncatedSVD, type TruncatedSVD} from '../ops/svd';
import type {Adapter} from './adapter';
import type {AlignedAdapters, AlignedLayer} from './alignment';
import {
  alone,
  assemble,
  type Combined,
  firstFactors,
  limitOfLayer,
  rankOf,
  scoped,
  shaped,
  termsOf,
  unscaled,
} from './combinedLayer';
import {type UncheckedCombination, mergingOf} from './combineOptions';
import {rankLimitOf} from './layerTensors';
import {mergeUpdates, type Merging, type Product, sumOfProducts} from './mixing';

/**
 * Approximates aligned adapters by one whose layers have at most a given rank, or together at most a given number of
 * values.
 *
 * @throws LoRAError if the budget is too small for a rank of any layer.
 */
export async function approximate(aligned: AlignedAdapters, options: UncheckedCombination): Promise<Adapter> {
  const {rank = Infinity, budget = Infinity} = options;
  const {layers} = aligned;
  const merging = mergingOf(options);
  const step = stepsOf(options);
  const decompositions = layers.map((): TruncatedSVD[] => []);
  try {
    const ladders: Rung[][] = [];
    for (const [done, layer] of layers.entries()) {
      await step({done, total: layers.length, what: 'approximating layers'});
      const most = Math.min(merging === undefined ? rankOf(layer) : limitOfLayer(layer), rank);
      const ladder = ladderOf(layer, most, budget);
      ladders.push(ladder);
      // A layer that keeps its rank keeps its factors.
      if (budget < Infinity || !staysWhole(layer, most, merging)) {
        await decompose(layer, Math.max(1, ladder.length), merging, decompositions[done] ?? []);
      }
      await (budget < Infinity ? addEnergies(ladder, decompositions[done] ?? []) : undefined);
    }
    const ranks = budget < Infinity ? allocate(ladders, budget) : ladders.map(({length}) => length);
    if (layers.length > 0 && ranks.every(chosen => chosen === 0)) {
      const least = Math.min(...layers.map(layer => valuesOf(layer, 0)));
      if (budget >= least) {
        throw misfitError(
          'The updates are all 0, as before training, so a budget has nothing to choose from. Train first, or pass ' +
            '{rank} instead.',
        );
      }
      throw new LoRAError(
        `budget must be at least ${least}, which is what one rank of the smallest layer takes, got ${budget}.`,
      );
    }
    return scoped(() => {
      const chosen = layers.flatMap((layer, i) => {
        const [layerRank = 0, svds = []] = [ranks[i], decompositions[i]];
        return layerRank === 0 ? [] : [{layer, combined: layerOfRank(layer, layerRank, merging, svds)}];
      });
      return assemble(
        {...aligned, layers: chosen.map(({layer}) => layer)},
        chosen.map(({combined}) => combined),
      );
    });
  } finally {
    tf.dispose(decompositions.map(svds => svds.map(svd => ({...svd}))));
  }
}

/** One more rank of a layer: the squares of the singular values that it adds, and how many values it takes. */
interface Rung {
  energy: number;
  values: number;
}

/** The ranks that a layer may get, in order. A layer with several weights has one rank for all of them. */
function ladderOf(layer: AlignedLayer, most: number, budget: number): Rung[] {
  const ladder: Rung[] = [];
  for (let left = budget; ladder.length < most && valuesOf(layer, ladder.length) <= left;) {
    const values = valuesOf(layer, ladder.length);
    left -= values;
    ladder.push({energy: 0, values});
  }
  return ladder;
}

/** How many values a rank of a layer takes, in the weights that can still use it. */
function valuesOf(layer: AlignedLayer, rank: number): number {
  return firstFactors(layer)
    .filter(factors => rank < rankLimitOf(factors))
    .reduce((sum, {a, b}) => sum + a.size / (a.shape.at(-1) ?? 1) + b.size / b.shape[0], 0);
}

async function addEnergies(ladder: readonly Rung[], svds: readonly TruncatedSVD[]): Promise<void> {
  for (const {s} of svds) {
    const values = await s.data();
    ladder.slice(0, values.length).forEach((rung, k) => (rung.energy += (values[k] ?? 0) ** 2));
  }
}

/** Decomposes the update of each weight of a layer into `decompositions`, which the caller frees. */
async function decompose(
  layer: AlignedLayer,
  rank: number,
  merging: Merging | undefined,
  decompositions: TruncatedSVD[],
): Promise<void> {
  for (const [i, factors] of firstFactors(layer).entries()) {
    const chain = tf.tidy(() => {
      const terms = termsOf(layer, i);
      if (merging !== undefined) {
        return [mergeUpdates(terms, merging)];
      }
      const {a, b} = sumOfProducts(terms);
      return [a, b];
    });
    try {
      decompositions.push(await truncatedSVD(chain, Math.min(rank, rankLimitOf(factors))));
    } finally {
      tf.dispose(chain);
    }
  }
}

/** Whether a layer of that rank keeps its factors: one adapter updates it, at no higher rank. */
function staysWhole(layer: AlignedLayer, rank: number, merging: Merging | undefined): boolean {
  return merging === undefined && layer.members.length === 1 && rankOf(layer) <= rank;
}

function layerOfRank(
  layer: AlignedLayer,
  rank: number,
  merging: Merging | undefined,
  svds: readonly TruncatedSVD[],
): Combined {
  const soleUpdate = staysWhole(layer, rank, merging) ? alone(layer) : undefined;
  const factorsOf = () =>
    firstFactors(layer).map(({prefix, a, b}, i) => ({
      prefix,
      ...shaped(productOf(svds[i] as TruncatedSVD, rank), {a, b}),
    }));
  return soleUpdate ?? unscaled(rank, factorsOf());
}

/** The best approximation of a rank, `U·diag(S)·Vᵀ`, split evenly between the factors. */
function productOf({u, s, v}: TruncatedSVD, rank: number): Product {
  const columns = Math.min(rank, s.shape[0]);
  const root = tf.sqrt(tf.slice(s, 0, columns));
  const scaled = (x: tf.Tensor2D) => tf.mul<tf.Tensor2D>(tf.slice(x, [0, 0], [-1, columns]), root);
  return {a: scaled(u), b: tf.transpose(scaled(v))};
}

/** The rank of each layer. Ranks with the most energy per value come first, as long as they fit the budget. */
function allocate(ladders: readonly Rung[][], budget: number): number[] {
  const ranks = ladders.map(() => 0);
  for (let left = budget; ;) {
    let best = -1;
    for (const [i, ladder] of ladders.entries()) {
      const [next, currentStep] = [ladder[ranks[i] ?? 0], ladders[best]?.[ranks[best] ?? 0]];
      const fits = next !== undefined && next.values <= left && next.energy > 0;
      if (fits && (currentStep === undefined || next.energy / next.values > currentStep.energy / currentStep.values)) {
        best = i;
      }
    }
    if (best < 0) {
      return ranks;
    }
    left -= ladders[best]?.[ranks[best] ?? 0]?.values ?? 0;
    ranks[best] = (ranks[best] ?? 0) + 1;
  }
}
