import {type Adapter} from './adapter';
import {checkCombination, type CombineOptions, mergingOf} from './combineOptions';
import {alone, assemble, type Combined, firstFactors, rankOf, scoped, shaped, termsOf, unscaled} from './combined';
import type {JointLayer, WeightedAdapter} from './joint';
import type {WeightFactors} from './layerTensors';
import {mergeFactors, type Merging, type Product, reduced, sum, type Term} from './mixing';

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
      eachWeight(layer, terms => reduced(sum(terms))),
    )
  );
}

/** What `combine` makes of each weight of a layer. */
function eachWeight(layer: JointLayer, combine: (terms: Term[]) => Product): WeightFactors[] {
  return firstFactors(layer).map(({prefix, a, b}, i) => ({prefix, ...shaped(combine(termsOf(layer, i)), {a, b})}));
}
