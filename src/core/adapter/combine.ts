import {stepsOf} from '../../platform/signals';
import {type Adapter, isAdapter} from './adapter';
import {withCommonBase} from './base';
import type {AlignedAdapters, AlignedLayer, WeightedAdapter} from './alignment';
import {approximate} from './approximate';
import {alone, assemble, type Combined, firstFactors, rankOf, scoped, shaped, termsOf, unscaled} from './combinedLayer';
import {checkCombination, type CombineOptions, mergingOf} from './combineOptions';
import type {WeightFactors} from './layerTensors';
import {mergeFactors, type Merging, type Product, reduced, sumOfProducts, type Term} from './mixing';

/**
 * Combines adapters into a new one, layer by layer, or compresses one. Where only some of them adapt a layer, the
 * others count as an update of 0. Ranks, alphas and rank stabilization may differ. The adapters are not changed.
 *
 * - `'exact'`: `Σ wᵢ·sᵢ·Aᵢ·Bᵢ` to rounding. Concatenates the factors, so the ranks add up; a sum above min(fan-in,
 *   fan-out) is rewritten without loss. Weights may be negative. (PEFT's `cat`.)
 * - `'ties'` (arXiv 2306.01708): trims each adapter to its largest entries, elects a sign for each entry, and takes the
 *   mean of those that agree, `Σ wᵢ·xᵢ / count`. Weights must be positive; the election does not look at them.
 * - `'dare'` (arXiv 2311.03099): drops entries at random, rescales the others by `1 / density`, and adds up, `Σ wᵢ·xᵢ`.
 *
 * With `rank` or `budget`, singular values give the best approximation of each layer's update at a lower rank (PEFT's
 * `svd`). `rank` is the same for all layers. `budget` limits all factors together: the singular values of all layers
 * are sorted by `σ²` per value that they take, and the first are kept. So a small adapter needs no special training:
 * train at a higher rank, then cut. (The idea of AdaLoRA, arXiv 2303.10512.)
 *
 * `'ties'` and `'dare'` work on `A` and `B` separately, with weights `√|wᵢ·sᵢ|`, as PEFT's `ties` and `dare_linear` do.
 * That is fast, and makes sense for adapters of one rank that started from the same `A`. With `rank` or `budget` they
 * merge the updates themselves, as PEFT's `ties_svd` and `dare_linear_svd` do.
 *
 * Weights that an adapter holds in full (layers, bases and biases that trained) are taken unchanged from the one
 * adapter that has them, whatever its weight. They do not count for `budget`.
 *
 * A warning says if the adapters were trained on different bases.
 *
 *     const mix = await combineAdapters([{adapter: cats, weight: 0.7}, {adapter: lions, weight: 0.3}]);
 *     const small = await combineAdapters(mix, {rank: 4});
 *
 * @param source adapters with weights, or one adapter.
 * @param options how the parts are combined, and the rank of the result.
 * @returns a new adapter, which the caller disposes of.
 * @throws LoRAError of code `ERR_OPTION` if an option is missing, not valid, or belongs to another method; of code
 *     `ERR_MISFIT` if the adapters do not match: other classes or shapes, different new heads, or a weight that more
 *     than one has in full, with a line for each; of code `ERR_ABORTED` if the signal is aborted.
 */
export async function combineAdapters(
  source: Adapter | readonly WeightedAdapter[],
  options: CombineOptions = {},
): Promise<Adapter> {
  const parts = isAdapter(source) ? [{adapter: source, weight: 1}] : source;
  const aligned = checkCombination(parts, options);
  try {
    const combined = await combineAligned(aligned, options);
    return await withCommonBase(
      parts.map(({adapter}) => adapter),
      combined,
    );
  } finally {
    aligned.dispose();
  }
}

async function combineAligned(aligned: AlignedAdapters, options: CombineOptions): Promise<Adapter> {
  if (options.rank !== undefined || options.budget !== undefined) {
    return approximate(aligned, options);
  }
  await stepsOf(options)({done: 0, total: aligned.layers.length, what: 'combining layers'});
  const merging = mergingOf(options);
  return scoped(() =>
    assemble(
      aligned,
      aligned.layers.map(layer => combineLayer(layer, merging)),
    ),
  );
}

function combineLayer(layer: AlignedLayer, merging: Merging | undefined): Combined {
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

function eachWeight(layer: AlignedLayer, combine: (terms: Term[]) => Product): WeightFactors[] {
  return firstFactors(layer).map(({prefix, a, b}, i) => ({prefix, ...shaped(combine(termsOf(layer, i)), {a, b})}));
}
