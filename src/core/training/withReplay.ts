import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions, kindOf, LoRAError, misfitError} from '../../platform/errors';
import {isDataset} from '../../platform/tfjs/copies';

/** Options of `withReplay`. */
export interface WithReplayOptions<T extends tf.TensorContainer> {
  /** Batches of earlier examples. When they end, they begin again. */
  replay: tf.data.Dataset<T>;
  /** The share of batches that are earlier ones, above 0 and below 1. Default: 0.2. */
  share?: number;
}

/**
 * Mixes batches of earlier examples into new ones, so that training on new examples doesn't unlearn the earlier ones.
 * A pass has all new batches, with earlier ones spread evenly between them; the next pass goes on with the earlier
 * batches that follow. If the share of a pass is no whole number of batches, it is rounded, and the difference counts
 * in the next pass. Three batches with a share of 0.2 make passes of 4, 4, 3 and 4, and a single pass, as in
 * `fitOnFeatures`, has an earlier batch too.
 *
 * @param data batches of new examples, which decide the length of a pass.
 * @param options the earlier batches, and their share. Their positions may differ from those of new ones.
 * @returns a dataset for `fitDataset`. Its `size` is the mean number of batches of a pass, which may be a fraction. It
 *     cannot be resumed from a checkpoint within a pass.
 * @throws LoRAError `ERR_OPTION` if they are not datasets, or the share is out of range.
 * @example
 *     const batches = seededBatches(xs, ys, {batchSize: 16, seed: 1});
 *     const replay = seededBatches(oldXs, oldYs, {batchSize: 16, seed: 2});
 *     await model.fitDataset(withReplay(batches, {replay, share: 0.25}), {epochs: 3});
 * @experimental
 */
export function withReplay<T extends tf.TensorContainer>(
  data: tf.data.Dataset<T>,
  options: WithReplayOptions<T>,
): tf.data.Dataset<T> {
  checkOptions(options, {replay: true, share: true}, 'withReplay(batches, {replay: earlierBatches})');
  const {replay, share = 0.2} = options;
  for (const [name, dataset] of Object.entries({data, replay})) {
    if (!isDataset(dataset)) {
      throw new LoRAError(`${name} must be a dataset of batches, such as seededBatches makes, got ${kindOf(dataset)}.`);
    }
  }
  checkNumber('share', share, share > 0 && share < 1, 'a number above 0 and below 1');
  const ratio = share / (1 - share);
  let earlier: Awaited<ReturnType<typeof replay.iterator>> | undefined;
  const nextEarlier = async (isRetry = false): Promise<T> => {
    earlier ??= await replay.iterator();
    const next = await earlier.next();
    if (next.done !== true) {
      return next.value;
    }
    if (isRetry) {
      throw misfitError('replay has no batches. Give it some, or train on the new ones alone.');
    }
    earlier = undefined;
    return nextEarlier(true);
  };
  let [news, olds] = [0, 0]; // in all passes
  async function* earlierUpTo(count: number): AsyncGenerator<T> {
    for (; olds < count; olds++) {
      yield await nextEarlier();
    }
  }
  async function* pass(): AsyncGenerator<T> {
    const dataIterator = await data.iterator();
    for (let next = await dataIterator.next(); !next.done; next = await dataIterator.next()) {
      yield next.value;
      news++;
      yield* earlierUpTo(Math.floor(news * ratio + 1e-9));
    }
    yield* earlierUpTo(Math.round(news * ratio + 1e-9));
  }
  // tfjs awaits what `next` returns, though its types do not say so.
  const passes: unknown = pass;
  const both = tf.data.generator(passes as () => Generator<T>);
  const count = data.size as number | null;
  const mean = (count ?? 0) * (1 + ratio);
  const size = Math.abs(mean - Math.round(mean)) < 1e-9 ? Math.round(mean) : mean; // 4 · (1 + ⅓ / ⅔) is not quite 6
  return Object.assign(both, count == null ? {} : {size});
}
