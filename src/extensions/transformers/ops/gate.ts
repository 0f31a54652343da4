import * as tf from '@tensorflow/tfjs';
import {TANH_CUBIC, TANH_SLOPE} from '../kernels/gateCode';
import {type GateKind, transformerKernels} from '../kernels/transformer';
import {runLazyOp} from '../../../platform/tfjs/lazyOp';

/**
 * `f(x)·up`, or `f(x)`, differentiable in both. Only the inputs are kept for the backward pass.
 *
 *     gelu(x) = x·Φ(x)    gelu_tanh(x) = x·sigmoid(2·√(2/π)·(x + 0.044715·x³))    silu(x) = x·sigmoid(x)
 */
export function gate(x: tf.Tensor, up: tf.Tensor | null, kind: GateKind): tf.Tensor {
  return runLazyOp({
    inputs: {x, ...(up && {up})},
    save: {x: true, up: up !== null},
    forward: () => transformerKernels()?.gate(x, up, kind) ?? composed(x, up, kind),
    gradient: (dy, saved): Record<string, () => tf.Tensor> => {
      const other = up === null ? null : saved.up;
      const [dx, du] =
        transformerKernels()?.gateGradient(saved.x, other, dy, kind) ?? composedGradient(saved.x, other, dy, kind);
      return {x: () => dx as tf.Tensor, ...(du && {up: () => du})};
    },
  });
}

/** The same of the two halves of the last axis. */
export function gateHalves(x: tf.Tensor, kind: GateKind): tf.Tensor {
  const kernels = transformerKernels();
  const {gateHalves: forward, gateHalvesGradient: gradient} = kernels ?? {};
  if (forward === undefined || gradient === undefined) {
    const [first, second] = tf.split(x, 2, -1) as [tf.Tensor, tf.Tensor];
    return gate(first, second, kind);
  }
  return runLazyOp({
    inputs: {x},
    save: {x: true},
    forward: () => forward(x, kind),
    gradient: (dy, saved) => ({x: () => gradient(saved.x, dy, kind)}),
  });
}

/** The factor of `x` in the activation: `f(x) = x·share(x)`. */
function shareOf(x: tf.Tensor, kind: GateKind): tf.Tensor {
  switch (kind) {
    case 'gelu':
      return tf.add(0.5, tf.mul(0.5, tf.erf(tf.mul(x, Math.SQRT1_2))));
    case 'gelu_tanh':
      return tf.sigmoid(tf.mul(x, tf.add(TANH_SLOPE, tf.mul(TANH_SLOPE * TANH_CUBIC, tf.square(x)))));
    case 'silu':
      return tf.sigmoid(x);
  }
}

function slopeOf(x: tf.Tensor, share: tf.Tensor, kind: GateKind): tf.Tensor {
  if (kind === 'gelu') {
    const density = tf.mul(1 / Math.sqrt(2 * Math.PI), tf.exp(tf.mul(-0.5, tf.square(x))));
    return tf.add(share, tf.mul(x, density));
  }
  const steep = tf.mul(share, tf.sub(1, share)); // the derivative of the sigmoid
  const inner = kind === 'silu' ? 1 : tf.add(TANH_SLOPE, tf.mul(3 * TANH_SLOPE * TANH_CUBIC, tf.square(x)));
  return tf.add(share, tf.mul(tf.mul(x, steep), inner));
}

function composed(x: tf.Tensor, up: tf.Tensor | null, kind: GateKind): tf.Tensor {
  const y = tf.mul(x, shareOf(x, kind));
  return up === null ? y : tf.mul(y, up);
}

function composedGradient(x: tf.Tensor, up: tf.Tensor | null, dy: tf.Tensor, kind: GateKind): tf.Tensor[] {
  return tf.tidy(() => {
    const share = shareOf(x, kind);
    const dx = tf.mul(dy, slopeOf(x, share, kind));
    return up === null ? [dx] : [tf.mul(dx, up), tf.mul(dy, tf.mul(x, share))];
  });
}
