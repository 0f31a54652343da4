import * as tf from '@tensorflow/tfjs';
import {asFloat} from '../../../core/layers/forward';
import {misfitError, showShape} from '../../../platform/errors';
import {registerOwn} from '../../../platform/tfjs/configs';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {learns, runLazyOp} from '../../../platform/tfjs/lazyOp';
import {ScaledAndShifted} from './scaledAndShifted';

/**
 * `γ·x + β` along the last axis, of one input or the sum of two: which MobileBERT has instead of normalizations. (Sun
 * et al., arXiv 2004.02984.)
 *
 * @experimental
 */
export class Affine extends ScaledAndShifted {
  static readonly className = 'tfjs-lora/transformers>Affine';

  constructor(args: {name?: string} = {}) {
    super(args);
    this.supportsMasking = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [shape, other, more] = shapesOf(inputShape);
    if (shape.at(-1) == null || more !== undefined || (other !== undefined && other.at(-1) !== shape.at(-1))) {
      const shapes = shapesOf(inputShape).map(each => showShape(each));
      throw misfitError(`"${this.name}" takes one input or two of the same shape, got ${shapes.join(', ')}.`);
    }
    return shape;
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [first, other] = inputs.map(asFloat) as [tf.Tensor, tf.Tensor?];
    const x = other === undefined ? first : tf.add(first, other);
    const [gamma, beta] = [this.gamma.read(), this.beta.read()];
    const rows = x.shape.slice(0, -1).map((_, axis) => axis);
    return runLazyOp({
      inputs: {x, gamma, beta},
      save: {x: learns(gamma), gamma: true},
      forward: () => tf.add(tf.mul(x, gamma), beta),
      gradient: (dy, saved) => ({
        x: () => tf.mul(dy, saved.gamma),
        gamma: () => tf.sum(tf.mul(dy, saved.x), rows),
        beta: () => tf.sum(dy, rows),
      }),
    });
  }
}
registerOwn(Affine);
