import * as tf from '@tensorflow/tfjs';
import {LoRAError, show} from '../../platform/errors';
import {randomNumbers} from '../../platform/formats/randomNumbers';
import {delta, type Factors} from './factors';

/**
 * The changes to an operation with a frozen kernel. The tensors may be computed from others: the tape keeps what the
 * backward pass needs of them. At most one of `factors` and `kernel` is set.
 */
export interface Update {
  /** A low-rank update `s·A·B` of the kernel. */
  factors?: Factors | undefined;
  /** The updated kernel, which replaces the layer's own. */
  kernel?: tf.Tensor | undefined;
  /** `[out]`: the factor of each output before the bias is added. Only for operations by `linear`. */
  gain?: tf.Tensor | undefined;
  /** `[out]`: the factor of the bias. */
  biasGain?: tf.Tensor | undefined;
  /** `[in]`: the factor of each channel of the input. */
  inputGain?: tf.Tensor | undefined;
  /** Drops elements of the update's input in this training step. */
  dropout?: Dropout | undefined;
}

export function changeOf(kernel: tf.Tensor, {factors, kernel: updated}: Update): tf.Tensor {
  if (updated !== undefined) {
    return tf.sub(updated, kernel);
  }
  return factors === undefined ? tf.zerosLike(kernel) : delta(factors);
}

/**
 * The dropout of a layer's update: in training, each element of the update's input is zero with probability `rate`, and
 * multiplied by `1 / (1 − rate)` otherwise, so that its mean stays the same. It does not apply to the frozen weights.
 * (Hu et al., arXiv 2106.09685, appendix C; PEFT's `lora_dropout`.)
 *
 * It holds all of its state: the masks follow from `seed` and `step` on every backend. To continue training as if it
 * had not been interrupted, save and restore both.
 */
export class Dropout {
  /** How many masks have been drawn. */
  step = 0;

  constructor(
    public rate: number,
    public seed: number,
  ) {}

  /** The rate for configs, which omit 0. */
  get config(): {dropout?: number} {
    return this.rate > 0 ? {dropout: this.rate} : {};
  }

  /** The next mask: 0, or `1 / (1 − rate)`. Not recorded. */
  mask(shape: readonly number[]): tf.Tensor {
    const values = new Float32Array(tf.util.sizeFromShape([...shape]));
    const scale = 1 / (1 - this.rate);
    const next = randomNumbers(this.seed, this.step++);
    const threshold = this.rate * 2 ** 32;
    for (let i = 0; i < values.length; i++) {
      values[i] = next() < threshold ? 0 : scale;
    }
    return tf.tensor(values, [...shape]);
  }

  /** The input with elements dropped by the next mask. */
  drop(x: tf.Tensor): tf.Tensor {
    return tf.mul(x, this.mask(x.shape));
  }
}

/**
 * A dropout rate, by default 0.
 *
 * @throws LoRAError if it is not a number from 0 to below 1.
 */
export function resolveDropout(dropout: number = 0): number {
  if (!(dropout >= 0 && dropout < 1)) {
    throw new LoRAError(`dropout must be a number from 0 to below 1, got ${show(dropout)}.`);
  }
  return dropout;
}
