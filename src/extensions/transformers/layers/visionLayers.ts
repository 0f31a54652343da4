import * as tf from '@tensorflow/tfjs';
import {asFloat, onlyTensor} from '../../../core/layers/forward';
import {gate} from '../ops/gate';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

/** The slope of the sigmoid of a `QuickGelu`. */
const STEEP = 1.702;

/**
 * `x·sigmoid(1.702·x)`, the gelu of CLIP. Only the input is kept for the gradient.
 *
 * @experimental
 */
export class QuickGelu extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>QuickGelu';

  constructor(args: {name?: string} = {}) {
    super(args);
    this.supportsMasking = true;
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const x = asFloat(onlyTensor(inputs));
    return tf.div(gate(tf.mul(x, STEEP), null, 'silu'), STEEP);
  }
}
registerOwn(QuickGelu);

/**
 * Multiplies the last axis by a learned vector: `λ·x`. (Touvron et al., arXiv 2103.17239.)
 *
 * @experimental
 */
export class LayerScale extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>LayerScale';
  private scale!: tf.LayerVariable;

  constructor(args: {name?: string} = {}) {
    super(args);
    this.supportsMasking = true;
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const width = (inputShape as tf.Shape).at(-1) as number;
    this.scale = this.addWeight('lambda1', [width], 'float32', tf.initializers.ones());
    this.built = true;
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    return tf.mul(asFloat(onlyTensor(inputs)), this.scale.read());
  }
}
registerOwn(LayerScale);
