import {kindOf, LoRAError, show} from '../../platform/errors';

/**
 * Computes weights that make classes of unequal size count the same in the loss, `Σ counts / (classes · count)`, like
 * `class_weight="balanced"` of scikit-learn.
 *
 * @param counts how many examples each class has.
 * @returns the weight of each class by its index, for `classWeights` of `compileModel`, `classWeight` of tfjs's `fit`,
 *     or `withSampleWeights(ys, labels.map(label => weights[label]))`.
 * @throws LoRAError `ERR_OPTION` if there are no counts, or one is not a whole number above 0.
 * @example
 *     const weights = balancedClassWeights([90, 10]); // {0: 0.556, 1: 5}
 * @experimental
 */
export function balancedClassWeights(counts: readonly number[]): Record<number, number> {
  if (!Array.isArray(counts) || counts.length === 0) {
    throw new LoRAError(
      `counts must be a list of how many examples each class has, got ${Array.isArray(counts) ? '[]' : kindOf(counts)}.`,
    );
  }
  const wrong = counts.findIndex(count => !Number.isSafeInteger(count) || count < 1);
  if (wrong >= 0) {
    throw new LoRAError(
      `Class ${wrong} has ${show(counts[wrong])} examples. A class needs at least one to be balanced with the others.`,
    );
  }
  const total = (counts as readonly number[]).reduce((sum, count) => sum + count, 0);
  return Object.fromEntries(counts.map((count: number, i) => [i, total / (counts.length * count)]));
}
