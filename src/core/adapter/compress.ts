import * as tf from '@tensorflow/tfjs';
import type {Adapter} from './adapter';
import {checkCompression, type CompressOptions, mergingOf} from './combineOptions';
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
} from './combine';
import type {JointLayer, WeightedAdapter} from './joint';
import {rankLimitOf, type WeightFactors} from './layerTensors';
import {approximated, mergeUpdates, type Merging, sumOfProducts} from './mixing';

/**
 * A new adapter of a given rank from one adapter, or from several with weights: in each layer the best approximation of
 * the update of that rank (by singular values), or less rank where the update has less. The adapters are not changed.
 *
 *     await compressAdapter(adapter, {rank: 4})
 *     await compressAdapter([{adapter: cats, weight: 0.7}, {adapter: lions, weight: 0.3}], {rank: 8})
 *
 * Several adapters are combined first: by default they are added, `Σ wᵢ·sᵢ·Aᵢ·Bᵢ` (PEFT's `svd`); with `'ties'` and
 * `'dare'` the updates `sᵢ·Aᵢ·Bᵢ` themselves are merged as in {@link combineAdapters} (PEFT's `ties_svd`,
 * `dare_linear_svd`).
 *
 * @returns a promise, since a small matrix is read from the backend.
 * @throws LoRAError as `combineAdapters`.
 */
export async function compressAdapter(
  source: Adapter | readonly WeightedAdapter[],
  options: CompressOptions,
): Promise<Adapter> {
  const parts = isList(source) ? source : [{adapter: source, weight: 1}];
  const joint = checkCompression(parts, options);
  const merging = mergingOf(options);
  const layers: Combined[] = [];
  try {
    for (const layer of joint.layers) {
      layers.push(await compressLayer(layer, options.rank, merging));
    }
    return scoped(() => assemble(joint, layers));
  } finally {
    tf.dispose(layers.flatMap(({factors}) => factors.flatMap(({a, b}) => [a, b])));
    joint.dispose();
  }
}

function isList(source: Adapter | readonly WeightedAdapter[]): source is readonly WeightedAdapter[] {
  return Array.isArray(source);
}

/** A layer of a given rank: the best approximation of its update. */
export async function compressLayer(layer: JointLayer, asked: number, merging: Merging | undefined): Promise<Combined> {
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
        const product = sumOfProducts(terms);
        return [product.a, product.b];
      });
      const product = await approximated(chain, Math.min(rank, rankLimitOf({a, b})));
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

function kept(layer: Combined | undefined): Combined | undefined {
  layer?.factors.forEach(({a, b}) => {
    tf.keep(a);
    tf.keep(b);
  });
  return layer;
}
