import * as tf from '@tensorflow/tfjs';
import type {OutputActivationName} from '../../shared/launches';
import type {OwnKernel} from '../../shared/registration';
import {newKernel} from '../../shared/kernel';
import {nativeOf} from './find';
import {BY_NUMBER} from './native';

interface OutputGradient {
  readonly dy: tf.Tensor;
  readonly y: tf.Tensor;
}

/** The gradient of `min(max(x, 0), cap)` or `max(x, 0)` from its output: `dy` strictly between the bounds, else 0. */
function cappedGradient(name: string, cap: number, composed: (call: OutputGradient) => tf.Tensor): OwnKernel {
  return newKernel<OutputGradient, object>(name, ({inputs, backend}) => {
    const native = nativeOf(backend);
    const {dy, y} = inputs;
    if (native === undefined || dy.dtype !== 'float32' || y.dtype !== 'float32') {
      return tf.tidy(() => composed(inputs));
    }
    const out = native.output(y.shape);
    const places = [y, dy, out].map(tensor => native.at(tensor));
    native.runParts(native.partsOf(y.size, 4, BY_NUMBER * y.size), (thread, {first, size}) => {
      thread.maskByOutput(...places.map(place => place + 4 * first), size, cap);
    });
    return out;
  });
}

/** The kernels for gradients of activations, `{dy, y} → dy · f'(x)` given `y = f(x)`. */
export const ACTIVATION_GRADIENTS: Readonly<Partial<Record<OutputActivationName, string>>> = {
  relu: 'ReluGrad',
  relu6: 'Relu6Grad',
};

/** The kernel for `x·m + t`, or `x·m`, with `m` and `t` along the last axis. */
export const AFFINE = 'TfjsLoRAAffine';

interface Affine {
  readonly x: tf.Tensor;
  readonly m: tf.Tensor;
  readonly t?: tf.Tensor;
}

const affine = newKernel<Affine, object>(AFFINE, ({inputs: {x, m, t}, backend}) => {
  const native = nativeOf(backend);
  if (native === undefined || m.size % 4 !== 0 || x.size === 0 || x.dtype !== 'float32') {
    return tf.tidy(() => (t === undefined ? tf.mul(x, m) : tf.add(tf.mul(x, m), t)));
  }
  const out = native.output(x.shape);
  const [from, scale, shift, to] = [x, m, t, out].map(tensor => native.at(tensor)) as [number, number, number, number];
  native.runParts(native.partsOf(x.size, m.size, BY_NUMBER * x.size), (thread, {first, size}) => {
    thread.affine(from + 4 * first, scale, shift, to + 4 * first, size, m.size);
  });
  return out;
});

/** Kernels that tfjs does not have, for images channel by channel. */
export const channelKernels: readonly OwnKernel[] = [
  cappedGradient('ReluGrad', NaN, ({dy, y}) => tf.mul(dy, tf.step(y))),
  cappedGradient('Relu6Grad', 6, ({dy, y}) => tf.mul(dy, tf.step(tf.mul(y, tf.sub(6, y))))),
  affine,
];
