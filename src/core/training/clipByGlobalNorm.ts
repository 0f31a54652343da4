import * as tf from '@tensorflow/tfjs';
import {checkNumber} from '../../platform/errors';
import {type Gradients, mapGradients, presentGradients, type StepChanges, stepsFor, takeStep} from './stepChanges';
import {NestedOptimizer} from './nestedOptimizer';
import {registerOwn} from '../../platform/tfjs/configs';

/** An optimizer whose gradients have a norm of at most `maxNorm`. Made by `clipByGlobalNorm`. */
export class ClipByGlobalNorm extends NestedOptimizer {
  static className = 'tfjs-lora>ClipByGlobalNorm';

  constructor(
    inner: tf.Optimizer,
    readonly maxNorm: number,
  ) {
    super(inner);
    checkNumber('maxNorm', maxNorm, maxNorm > 0, 'a number above 0');
  }

  applyChanged(gradients: Gradients, changes: StepChanges): void {
    const {gradientScale = 1} = changes;
    const present = presentGradients(gradients);
    const sumOfSquares = stepsFor(present)?.sumOfSquares;
    if (sumOfSquares !== undefined) {
      const norm = gradientScale * Math.sqrt(present.reduce((sum, gradient) => sum + sumOfSquares(gradient), 0));
      const clip = norm <= this.maxNorm ? 1 : this.maxNorm / norm;
      takeStep(this.inner, gradients, {...changes, gradientScale: gradientScale * clip});
      return;
    }
    tf.tidy(() => {
      if (present.length === 0) {
        takeStep(this.inner, gradients, changes);
        return;
      }
      // On a GPU the norm stays there. (`tf.addN` of eight tensors or more fails silently on webgpu.)
      const norm = tf.mul(
        tf.sqrt(tf.sum(tf.stack(present.map(gradient => tf.sum(tf.square(gradient)))))),
        gradientScale,
      );
      const clip = tf.div(gradientScale * this.maxNorm, tf.maximum(norm, this.maxNorm));
      const clipped = mapGradients(gradients, gradient => tf.mul(gradient, clip));
      takeStep(this.inner, clipped, {...changes, gradientScale: 1});
    });
  }

  protected options(): tf.serialization.ConfigDict {
    return {maxNorm: this.maxNorm};
  }
}
registerOwn(ClipByGlobalNorm);

/**
 * Scales all gradients of a step by one factor, so that their global norm is at most `maxNorm` (Pascanu et al., arXiv
 * 1211.5063):
 *
 *     g ← g · min(1, maxNorm / ‖g‖)
 *
 * @param optimizer applies the scaled gradients.
 * @param maxNorm the largest norm of all gradients together.
 * @returns an optimizer for `model.compile`.
 * @throws LoRAError `ERR_OPTION` if it is no optimizer, or `maxNorm` is no number above 0.
 * @example
 *     model.compile({optimizer: clipByGlobalNorm(adam({learningRate: 1e-3}), 1), loss});
 */
export function clipByGlobalNorm(optimizer: tf.Optimizer, maxNorm: number): tf.Optimizer {
  return new ClipByGlobalNorm(optimizer, maxNorm);
}
