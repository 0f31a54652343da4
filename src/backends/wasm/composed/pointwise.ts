import * as tf from '@tensorflow/tfjs';
import type {OwnKernel} from '../../shared/registration';
import {isNumeric} from './copy';
import {nativeOf} from '../module/find';
import {BY_NUMBER} from '../module/native';
import {type Clamp, clampOf} from '../module/products';
import {heapViews, type KernelCall, type WasmBackend, wrappedKernel} from '../../shared/kernel';

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

/** A fused kernel whose relu keeps NaN: the backend's own makes 0 of it. */
export function withExactClamp<Inputs, Attributes extends {readonly activation?: string}>(
  stock: Kernel<Inputs, Attributes>,
): Kernel<Inputs, Attributes> {
  return call => {
    const {attrs, backend} = call;
    const clamp = clampOf(attrs.activation ?? 'linear');
    if (clamp == null) {
      return stock(call);
    }
    const y = stock({...call, attrs: {...attrs, activation: 'linear'}});
    clampInto(backend, y, y, clamp);
    return y;
  };
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
 * result, and takes what it chooses from for the first of the dtypes.
 */
export const selectKernel = wrappedKernel<tf.SelectInputs, object>(tf.Select, stock => call => {
  const {condition, t, e} = call.inputs as Record<keyof tf.SelectInputs, tf.Tensor>;
  const dtype = tf.upcastType(t.dtype, e.dtype);
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
