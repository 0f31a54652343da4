import * as tf from '@tensorflow/tfjs';
import {LoRAError, show} from '../../../platform/errors';
import {asFloat, onlyTensor} from '../../../core/layers/forward';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

/** Arguments of {@link Scaling}. */
export interface ScalingArgs {
  /** The factor. */
  factor: number;
  name?: string;
}

/**
 * `factor·x`, for example for the token embeddings of Gemma and Granite.
 *
 * @experimental
 */
export class Scaling extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>Scaling';
  private readonly factor: number;

  constructor({factor, ...rest}: ScalingArgs) {
    if (!Number.isFinite(factor)) {
      throw new LoRAError(`factor must be a number, got ${show(factor)}.`);
    }
    super(rest);
    this.factor = factor;
    this.supportsMasking = true;
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    return tf.mul(asFloat(onlyTensor(inputs)), this.factor);
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), factor: this.factor};
  }
}
registerOwn(Scaling);

/** Arguments of {@link SoftCap}. */
export interface SoftCapArgs {
  /** The bound of the outputs. */
  cap: number;
  name?: string;
}

/**
 * `cap·tanh(x / cap)`, for example for the logits of Gemma 2. (Gemma Team, arXiv 2408.00118, §2.)
 *
 * @experimental
 */
export class SoftCap extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>SoftCap';
  readonly cap: number;

  constructor({cap, ...rest}: SoftCapArgs) {
    if (!(Number.isFinite(cap) && cap > 0)) {
      throw new LoRAError(`cap must be a positive number, got ${show(cap)}.`);
    }
    super(rest);
    this.cap = cap;
    this.supportsMasking = true;
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    return tf.mul(tf.tanh(tf.div(asFloat(onlyTensor(inputs)), this.cap)), this.cap);
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), cap: this.cap};
  }
}
registerOwn(SoftCap);
