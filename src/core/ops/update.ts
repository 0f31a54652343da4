import * as tf from '@tensorflow/tfjs';
import {LoRAError, show} from '../../platform/errors';
import {randomNumbers} from '../../platform/formats/randomNumbers';
import {delta, type Factors} from './factors';

/**
 * What changes an operation with a frozen kernel. The tensors may be computed from others: the tape keeps what the
 * backward pass needs of them. Of `factors` and `kernel` there is at most one.
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

/**
 * The dropout of a layer's update: in training, the update works on an input of which each number is zero with
 * probability `rate`, and `1 / (1 − rate)` times itself otherwise, so that its mean stays as it is. What the frozen
 * weights compute is not touched. (Hu et al., arXiv 2106.09685, appendix C; PEFT's `lora_dropout`.)
 *
 * All of its state is here: the masks follow from `seed` and `step`, whatever the backend. To go on with a training as
 * if it had not been interrupted, keep both and set them again.
 */
export class Dropout {
  /** How many masks have been drawn. */
  step = 0;

  constructor(
    public rate: number,
    public seed: number,
  ) {}

  /** The rate as configs hold it: they leave 0 out. */
  get config(): {dropout?: number} {
    return this.rate > 0 ? {dropout: this.rate} : {};
  }

  /** The next mask: 0, or `1 / (1 − rate)`. Nothing of it is recorded. */
  mask(shape: readonly number[]): tf.Tensor {
    const values = new Float32Array(tf.util.sizeFromShape([...shape]));
    const kept = 1 / (1 - this.rate);
    const next = randomNumbers(this.seed, this.step++);
    const threshold = this.rate * 2 ** 32;
    for (let i = 0; i < values.length; i++) {
      values[i] = next() < threshold ? 0 : kept;
    }
    return tf.tensor(values, [...shape]);
  }

  /** The input with numbers dropped by the next mask. */
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
