import * as tf from '@tensorflow/tfjs';
import type {OwnKernel} from '../../shared/registration';
import {isNumeric} from './copy';
import {nativeOf} from '../module/find';
import {BY_NUMBER} from '../module/native';
import {type Clamp, clampOf} from '../module/products';
import {type KernelCall, type WasmBackend, wrappedKernel} from '../../shared/kernel';
import {heapViews} from './heap';

type Kernel<Inputs, Attributes> = (call: KernelCall<Inputs, Attributes>) => tf.TensorInfo;

// Elementwise kernels, and what the backend gets wrong in them.

/**
 * `ClipByValue`, `Relu6` and `Relu`. The backend's own make the lower bound of NaN, `Relu` of those with a sign, which
 * processors compute for ∞ − ∞; `ClipByValue` reads whole numbers as floats.
 */
export const clampKernels: readonly OwnKernel[] = [
  clampKernel<tf.ClipByValueAttrs>(tf.ClipByValue, ({clipValueMin, clipValueMax}) => ({
    low: clipValueMin,
    high: clipValueMax,
  })),
  clampKernel<object>(tf.Relu6, () => ({low: 0, high: 6})),
  clampKernel<object>(tf.Relu, () => ({low: 0, high: Infinity})),
];

function clampKernel<Attributes>(name: string, boundsOf: (attrs: Attributes) => Clamp): OwnKernel {
  return wrappedKernel<{x: tf.TensorInfo}, Attributes>(name, () => ({inputs: {x}, attrs, backend}) => {
    const out = backend.makeOutput(x.shape, x.dtype);
    clampInto(backend, x, out, boundsOf(attrs));
    return out;
  });
}

interface Fused {
  readonly preluActivationWeights?: tf.Tensor | null;
}

/** A fused kernel whose relu keeps NaN, of which the backend's own makes 0, and whose prelu is exact. */
export function withExactActivation<Inputs extends Fused, Attributes extends {readonly activation?: string}>(
  stock: Kernel<Inputs, Attributes>,
): Kernel<Inputs, Attributes> {
  return call => {
    const {inputs, attrs, backend} = call;
    const linear = () =>
      stock({...call, inputs: {...inputs, preluActivationWeights: undefined}, attrs: {...attrs, activation: 'linear'}});
    const {preluActivationWeights: alpha} = inputs;
    if (attrs.activation === 'prelu' && alpha != null && !areFinite(backend, alpha)) {
      return tf.tidy(() => tf.prelu(tf.engine().makeTensorFromTensorInfo(linear()), alpha));
    }
    const clamp = clampOf(attrs.activation ?? 'linear');
    if (clamp == null) {
      return stock(call);
    }
    const y = linear();
    clampInto(backend, y, y, clamp);
    return y;
  };
}

/** The operands of `Prelu`. */
export interface Slopes {
  readonly x: tf.Tensor;
  readonly alpha: tf.Tensor;
}

/**
 * `Prelu` whose slopes may be NaN or infinite. The backend's own multiplies positive values by 0 and the slope, which
 * is NaN then.
 */
export function exactPrelu(stock: Kernel<Slopes, object>): Kernel<Slopes, object> {
  return call => {
    const {x, alpha} = call.inputs;
    const y = stock(call);
    return areFinite(call.backend, alpha)
      ? y
      : tf.tidy(() => tf.where(tf.less(x, 0), tf.engine().makeTensorFromTensorInfo(y), x));
  };
}

function areFinite(backend: WasmBackend, x: tf.TensorInfo): boolean {
  return !mayHold(backend, x, Infinity) && !mayHold(backend, x, -Infinity);
}

/** Whether one of the floats may be NaN or `value`. Only our module checks. */
export function mayHold(backend: WasmBackend, x: tf.TensorInfo, value: number): boolean {
  const native = nativeOf(backend);
  return native?.functions.holds(native.at(x), tf.util.sizeFromShape(x.shape), value) !== 0;
}

/** Writes `x` between bounds to `out`, which may be `x`. */
function clampInto(backend: WasmBackend, x: tf.TensorInfo, out: tf.TensorInfo, {low, high}: Clamp): void {
  const native = nativeOf(backend);
  const count = tf.util.sizeFromShape(x.shape);
  if (native !== undefined && x.dtype === 'float32') {
    const [from, to] = [native.at(x), native.at(out)];
    native.runParts(native.partsOf(count, 4, BY_NUMBER * count), (thread, {first, size}) => {
      thread.clamp(from + 4 * first, to + 4 * first, size, low, high);
    });
    return;
  }
  const [from, to] = heapViews(backend, x, out) as [Float32Array, Float32Array];
  for (let i = 0; i < count; i++) {
    const value = from[i] as number;
    to[i] = value < low ? low : value > high ? high : value;
  }
}

/**
 * `Select` of truth values, which have a byte each, and of two dtypes. The backend's own writes four bytes, beyond the
 * result, and takes what it chooses from for the first of the dtypes. Where tfjs chooses nothing, from one row and no
 * row, it leaves what its memory held; cpu has zeros.
 */
export const selectKernel = wrappedKernel<tf.SelectInputs, object>(tf.Select, stock => call => {
  const {condition, t, e} = call.inputs as Record<keyof tf.SelectInputs, tf.Tensor>;
  const dtype = tf.upcastType(t.dtype, e.dtype);
  if (condition.size === 0 && isNumeric(t)) {
    return tf.zeros(t.shape, dtype);
  }
  if (t.dtype === e.dtype && dtype !== 'bool') {
    return stock(call);
  }
  const chosen = (x: tf.Tensor) => tf.cast(x, dtype === 'bool' ? 'int32' : dtype);
  return tf.tidy(() => tf.cast(tf.where(condition, chosen(t), chosen(e)), dtype));
});

/** `Cast` to truth values: whether a value is not 0. The backend's own keeps the last eight bits of an integer. */
export const castKernel = wrappedKernel<{x: tf.Tensor}, {dtype: tf.DataType}>(tf.Cast, stock => call => {
  const {
    inputs: {x},
    attrs: {dtype},
    backend,
  } = call;
  if (dtype !== 'bool' || !isNumeric(x)) {
    return stock(call);
  }
  const out = backend.makeOutput(x.shape, dtype);
  const [values, truths] = heapViews(backend, x, out) as [Float32Array, Uint8Array];
  for (let i = 0; i < truths.length; i++) {
    truths[i] = values[i] === 0 ? 0 : 1;
  }
  return out;
});
