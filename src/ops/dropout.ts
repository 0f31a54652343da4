import * as tf from '@tensorflow/tfjs';
import {randomNumbers} from '../formats/randomNumbers';

/**
 * The dropout of a layer's update: in training, the update works on an input of which each number is zero with probability `rate`, and
 * `1 / (1 − rate)` times itself otherwise, so that its mean stays as it is. What the frozen weights compute is not touched. (Hu et al., arXiv
 * 2106.09685, appendix C; PEFT's `lora_dropout`.)
 *
 * All of its state is here: the masks follow from `seed` and `step`, whatever the backend. To go on with a training as if it had not been
 * interrupted, keep both and set them again.
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
