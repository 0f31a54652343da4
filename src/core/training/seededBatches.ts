import * as tf from '@tensorflow/tfjs';
import {checkCount, checkOptions, kindOf, LoRAError, misfitError, show, showShape} from '../../platform/errors';
import {randomNumbers} from '../../platform/formats/randomNumbers';

/** Options of `seededBatches`. */
export interface SeededBatchesOptions {
  /** Default: 32. */
  batchSize?: number;
  /** Decides the order of every epoch: a whole number. */
  seed: number;
}

/** Tensors of examples along the first axis: one, a list, or an object by names of a model's inputs or outputs. */
export type ExampleTensors = tf.Tensor | tf.Tensor[] | Record<string, tf.Tensor>;

export interface Batch extends tf.TensorContainerObject {
  xs: tf.TensorContainer;
  ys: tf.TensorContainer;
}

// To bundlers, reading `tf.data.Dataset` is a side effect, which would keep the class in pages that do not use it.
const Dataset = /* @__PURE__ */ (() => tf.data.Dataset<Batch>)();

/** Batches in an order that a seed decides, for `fitDataset`. Made by `seededBatches`. */
export interface SeededBatches extends tf.data.Dataset<{xs: tf.TensorContainer; ys: tf.TensorContainer}> {
  /** How many batches an epoch has. */
  readonly size: number;
  /** Decides the order of every epoch. */
  readonly seed: number;
}

export class SeededDataset extends Dataset implements SeededBatches {
  override readonly size: number;
  readonly seed: number;
  readonly batchSize: number;
  private epoch = 0;
  private firstBatch = 0;

  /** @param gather makes a batch of the examples with some indices. */
  constructor(
    readonly examples: number,
    private readonly gather: (places: Int32Array) => Batch,
    {batchSize = 32, seed}: SeededBatchesOptions,
  ) {
    super();
    checkCount('batchSize', batchSize);
    if (!Number.isSafeInteger(seed)) {
      throw new LoRAError(`seed must be a whole number, got ${show(seed)}.`);
    }
    this.batchSize = batchSize;
    this.seed = seed;
    this.size = Math.ceil(examples / batchSize);
  }

  /** Starts the next pass at a batch of an epoch, both counted from 0. `resume` calls this. */
  startAt(epoch: number, batch = 0): void {
    checkCount('epoch', epoch, 0);
    checkCount('batch', batch, 0);
    this.epoch = epoch;
    this.firstBatch = batch;
  }

  /** Examples in order, which is that of no epoch: `count` of them from index `start`, or what is left. */
  inOrder(start: number, count: number): Batch {
    return this.gather(Int32Array.from({length: Math.min(count, this.examples - start)}, (_, i) => start + i));
  }

  override iterator(): ReturnType<tf.data.Dataset<Batch>['iterator']> {
    return tf.data.generator(() => this.pass()).iterator();
  }

  /** One epoch. tfjs makes an iterator that it does not use, so an epoch begins with its first batch. */
  private *pass(): Generator<Batch> {
    const order = orderOf(this.examples, this.seed, this.epoch++);
    const first = this.firstBatch;
    this.firstBatch = 0;
    for (let batch = first; batch < this.size; batch++) {
      const start = batch * this.batchSize;
      yield this.gather(order.subarray(start, start + this.batchSize));
    }
  }
}

function gathered(xs: ExampleTensors, ys: ExampleTensors, places: Int32Array): Batch {
  return tf.tidy(() => {
    const indices = tf.tensor1d(places, 'int32');
    const take = (examples: ExampleTensors): tf.TensorContainer => {
      if (examples instanceof tf.Tensor) {
        return tf.gather(examples, indices);
      }
      return Array.isArray(examples)
        ? examples.map(tensor => tf.gather(tensor, indices))
        : Object.fromEntries(Object.entries(examples).map(([name, tensor]) => [name, tf.gather(tensor, indices)]));
    };
    return {xs: take(xs), ys: take(ys)};
  });
}

function tensorsOf(what: string, examples: unknown): tf.Tensor[] {
  const isTensor = examples instanceof tf.Tensor;
  const tensors: unknown[] =
    isTensor || typeof examples !== 'object' || examples === null ? [examples] : Object.values(examples);
  if (tensors.length === 0 || tensors.some(tensor => !(tensor instanceof tf.Tensor) || tensor.rank === 0)) {
    throw new LoRAError(
      `${what} must be a tensor with a first axis of examples, a list of these, or an object of them by name, ` +
        `got ${kindOf(examples)}.`,
    );
  }
  return tensors as tf.Tensor[];
}

function examplesIn(tensors: readonly tf.Tensor[]): number {
  const counts = new Set(tensors.map(({shape}) => shape[0]));
  const [count = 0] = counts;
  if (counts.size > 1 || count === 0) {
    throw misfitError(
      'xs and ys must have the same number of examples, at least one, got ' +
        `${tensors.map(({shape}) => showShape(shape)).join(', ')}.`,
    );
  }
  return count;
}

/** The numbers below `count` in the order of an epoch, by a Fisher–Yates shuffle. */
export function orderOf(count: number, seed: number, epoch: number): Int32Array {
  const order = Int32Array.from({length: count}, (_, i) => i);
  const random = randomNumbers(seed, epoch);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor((random() / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}

/**
 * Makes batches of tensors for `fitDataset`, in a random order that is the same in each run: it follows from the seed
 * and the epoch. tfjs itself shuffles with `Math.random`, which cannot be seeded.
 *
 *     await model.fitDataset(seededBatches(xs, ys, {batchSize: 32, seed: 7}), {epochs: 10});
 *
 * Each pass is another epoch, so use it only for training. The last batch of an epoch has the remainder.
 *
 * @param xs inputs; they stay the caller's, and must exist as long as training runs.
 * @param ys targets, as many as inputs.
 * @param options the size of a batch, and the seed of the order.
 * @returns a dataset for `fitDataset`.
 * @throws LoRAError `ERR_OPTION` if they are no tensors or an option is not in its range, `ERR_MISFIT` if there are not
 *     equally many inputs and targets.
 */
export function seededBatches(xs: ExampleTensors, ys: ExampleTensors, options: SeededBatchesOptions): SeededBatches {
  checkOptions(options, {batchSize: true, seed: true}, 'seededBatches({xs, ys}, {batchSize: 32, seed: 1})');
  const count = examplesIn([...tensorsOf('xs', xs), ...tensorsOf('ys', ys)]);
  return new SeededDataset(count, places => gathered(xs, ys, places), options);
}
