import * as tf from '@tensorflow/tfjs';
import type {Dropout} from './dropout';
import {delta, type Factors} from './factors';

/**
 * What changes an operation with a frozen kernel. The tensors may be computed from others: the tape keeps what the backward pass needs of
 * them. Of `factors` and `kernel` there is at most one.
 */
export interface Update {
  /** A low-rank update `s·A·B` of the kernel. */
  factors?: Factors | undefined;
  /** The updated kernel, in place of the layer's own. */
  kernel?: tf.Tensor | undefined;
  /** `[out]`: what each output is multiplied with before the bias is added. Only for operations by `linear`. */
  gain?: tf.Tensor | undefined;
  /** `[out]`: what the bias is multiplied with. */
  biasGain?: tf.Tensor | undefined;
  /** `[in]`: what each channel of the input is multiplied with. */
  inputGain?: tf.Tensor | undefined;
  /** Drops numbers of the input of the update, in this training step. */
  dropout?: Dropout | undefined;
}

/** What an update adds to a kernel. */
export function changeOf(kernel: tf.Tensor, {factors, kernel: updated}: Update): tf.Tensor {
  if (updated !== undefined) {
    return tf.sub(updated, kernel);
  }
  return factors === undefined ? tf.zerosLike(kernel) : delta(factors);
}
