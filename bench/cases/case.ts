import type * as tf from '@tensorflow/tfjs';
import type {Run} from '../measure';

/** What is adapted in a case, in terms that the library and the naive layers both understand. */
export interface Targets {
  rank: number;
  /** Names of the layers with an update. */
  targets: string[];
  /** Other ranks for some of them. */
  overrides?: {targets: string[]; rank: number}[];
  /** Names of the layers that train in full beside it. */
  trainable?: string[];
}

/** One batch to train on. */
export interface Batch {
  xs: tf.Tensor;
  ys: tf.Tensor;
}

/**
 * A model, data and targets to measure with.
 *
 * The process that measures stock tfjs loads the cases too, so nothing here may import the library: that would register
 * its kernels.
 */
export interface BenchCase {
  /** What it is, with a batch of so many examples. */
  title: (examples?: number) => string;
  loss: string;
  /** A new model, not compiled. */
  build: () => Promise<tf.LayersModel>;
  /** Default: as many examples as Node is measured with. */
  batch: (examples?: number) => Batch;
  targets: (model: tf.LayersModel) => Targets;
  /**
   * The least a step can do, where it can be said more closely than by the forward pass: forward and input gradients.
   */
  floor?: (model: tf.LayersModel, xs: tf.Tensor) => Run;
  /** The products with frozen kernels that a step cannot do without, forward and backward, and nothing else. */
  products?: () => Run;
}
