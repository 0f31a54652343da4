import * as tf from '@tensorflow/tfjs';
import {learns, runLazyOp} from '../../../platform/tfjs/lazyOp';

/** `γ·x + β` along the last axis. Only what gradients need is kept for the backward pass. */
export function affine(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor): tf.Tensor {
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
