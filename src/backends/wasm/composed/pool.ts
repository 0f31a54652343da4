import * as tf from '@tensorflow/tfjs';
import {mayHold} from './pointwise';
import {type KernelCall, newKernel, type WasmBackend, wrappedKernel} from '../../shared/kernel';
import {heapViews} from './heap';
import {nativeOf} from '../module/find';
import {BY_NUMBER, type Native} from '../module/native';
import {isCountedByPads} from '../../shared/geometry';
import type {OwnKernel} from '../../shared/registration';
import {
  addToMaxima,
  eachWindow,
  poolInfo,
  type Pooling,
  pooling2D,
  pooling3D,
  positionsOfMaxima,
} from '../../shared/windows';

/**
 * `AvgPool` makes −∞ of NaN on this backend. Each average that is −∞ is computed again.
 *
 * The backend walks windows by the pads and strides alone. Where tfjs rounds to another number of them, or takes it
 * from the height for the width too, as it does for a pad in one number, the backend writes beyond the result.
 *
 * Max pooling where the backend is wrong: it starts from 1e-38, the smallest positive number, and so misses maxima that
 * are not positive, in the gradients and, but for `MaxPool`, forward too. Of equal maxima the first is taken.
 */
export const poolKernels: readonly OwnKernel[] = [
  wrappedKernel<{x: tf.Tensor4D}, tf.MaxPoolAttrs>(
    tf.MaxPool,
    stock => call => oddWindows(call, writeMaxima) ?? stock(call),
  ),
  wrappedKernel<{x: tf.Tensor4D}, tf.AvgPoolAttrs>(tf.AvgPool, stock => call => {
    const ofOddWindows = oddWindows(call, writeMeans);
    if (ofOddWindows !== undefined) {
      return ofOddWindows;
    }
    const means = stock(call);
    if (mayHold(call.backend, means, -Infinity)) {
      const [numbers, values] = heapViews(call.backend, means, call.inputs.x) as [Float32Array, Float32Array];
      restoreNaN(numbers, values, pooling2D(call.inputs.x, call.attrs));
    }
    return means;
  }),
  newKernel<Record<'dy' | 'input', tf.Tensor>, tf.MaxPoolGradAttrs>(tf.MaxPoolGrad, ({inputs, attrs, backend}) =>
    poolGradient(inputs, pooling2D(inputs.input, attrs), backend),
  ),
  newKernel<Record<'dy' | 'input', tf.Tensor>, tf.MaxPool3DGradAttrs>(tf.MaxPool3DGrad, ({inputs, attrs, backend}) =>
    poolGradient(inputs, pooling3D(inputs.input, attrs), backend),
  ),
  newKernel<{x: tf.Tensor}, tf.MaxPool3DAttrs>(tf.MaxPool3D, ({inputs: {x}, attrs, backend}) => {
    const pooling = pooling3D(x, attrs);
    const out = backend.makeOutput(pooling.outShape, x.dtype);
    const [values, maxima] = heapViews(backend, x, out) as [Float32Array, Float32Array];
    writeMaxima(maxima, values, pooling);
    return out;
  }),
];

/** The result of a pooling whose windows the backend does not walk as tfjs counts them, or has none of. */
function oddWindows(
  {inputs: {x}, attrs, backend}: KernelCall<{x: tf.Tensor4D}, tf.MaxPoolAttrs>,
  write: (out: Float32Array, x: Float32Array, pooling: Pooling) => void,
): tf.TensorInfo | undefined {
  const info = poolInfo(x, attrs);
  const isCounted = x.size > 0 && info.outShape.every(length => length > 0) && isCountedByPads(info);
  if (x.dtype !== 'float32' || isCounted) {
    return undefined; // the backend refuses other dtypes
  }
  const pooling = pooling2D(x, attrs);
  const out = backend.makeOutput(pooling.outShape, 'float32');
  const [values, results] = heapViews(backend, x, out) as [Float32Array, Float32Array];
  write(results, values, pooling);
  return out;
}

/** The maxima of windows; −∞ for one that holds only padding. */
function writeMaxima(maxima: Float32Array, x: Float32Array, pooling: Pooling): void {
  positionsOfMaxima(x, pooling).forEach((position, i) => {
    maxima[i] = x[position] ?? -Infinity;
  });
}

/** The means of windows; NaN for one that holds only padding. */
function writeMeans(means: Float32Array, x: Float32Array, pooling: Pooling): void {
  const {channels} = pooling;
  let out = 0;
  eachWindow(pooling, (window, size) => {
    for (let channel = 0; channel < channels; channel++) {
      means[out++] = sumOf(x, window, size, channel) / size;
    }
  });
}

function sumOf(x: Float32Array, window: Int32Array, size: number, channel: number): number {
  let sum = 0;
  for (let k = 0; k < size; k++) {
    sum += x[(window[k] as number) + channel] as number;
  }
  return sum;
}

/** dx is dy where x was the maximum of a window, summed over the windows, and zero elsewhere. */
function poolGradient(
  {dy, input}: Record<'dy' | 'input', tf.Tensor>,
  forward: Pooling,
  backend: WasmBackend,
): tf.TensorInfo {
  // tfjs does not tell the gradient how windows were rounded. There are as many as `dy` has numbers.
  const outputs = [1, ...dy.shape.slice(1, -1)].slice(-3);
  const axes = forward.axes.map((axis, i) => ({...axis, output: outputs[i]})) as unknown as Pooling['axes'];
  const pooling = {...forward, axes};
  const native = nativeOf(backend);
  const out = backend.makeOutput(input.shape, 'float32');
  if (native !== undefined && pooling.channels % 4 === 0 && input.dtype === 'float32' && dy.dtype === 'float32') {
    gradientByModule(native, [native.at(input), native.at(dy), native.at(out)], pooling);
    return out;
  }
  const [x, gradients, dx] = heapViews(backend, input, dy, out) as [Float32Array, Float32Array, Float32Array];
  dx.fill(0);
  addToMaxima(dx, x, gradients, pooling);
  return out;
}

/** The same by our module. */
function gradientByModule(
  native: Native,
  [x, dy, dx]: readonly [x: number, dy: number, dx: number],
  {batch, channels, axes}: Pooling,
): void {
  const geometry = axes.flatMap(({input, output, kernel, stride, before}) => [input, output, kernel, stride, before]);
  const [inputs, outputs, reads] = [
    axes.reduce((size, {input}) => size * input, channels),
    axes.reduce((size, {output}) => size * output, channels),
    axes.reduce((size, {output, kernel}) => size * output * kernel, channels),
  ];
  native.runParts(native.partsOf(batch, 1, BY_NUMBER * batch * reads), (thread, {first: image, size}) => {
    const places = [x + 4 * image * inputs, dy + 4 * image * outputs, dx + 4 * image * inputs];
    thread.maxPoolGradient(...places, size, channels, ...geometry);
  });
}

/** Writes NaN to the means that are −∞ and whose windows sum up to NaN. */
function restoreNaN(means: Float32Array, x: Float32Array, pooling: Pooling): void {
  const {channels} = pooling;
  let out = 0;
  eachWindow(pooling, (window, size) => {
    for (let channel = 0; channel < channels; channel++, out++) {
      if (means[out] === -Infinity && Number.isNaN(sumOf(x, window, size, channel))) {
        means[out] = NaN;
      }
    }
  });
}
