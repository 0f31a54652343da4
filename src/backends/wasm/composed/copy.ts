import * as tf from '@tensorflow/tfjs';
import {newKernel, wrappedKernel, type WasmBackend} from '../../shared/kernel';
import {wholeHeap} from './heap';
import type {OwnKernel} from '../../shared/registration';

/** Shorter runs are copied value by value: `copyWithin` costs as much for one as for eight. */
const SHORT_RUN = 8;

/**
 * `Identity`, sharing the data as the other backends do. The backend's own copies them, and tfjs clones whatever it
 * keeps for a backward pass: the input and the output of nearly every step.
 */
const identity = newKernel<{x: tf.TensorInfo}, object>(tf.Identity, ({inputs: {x}, backend}) => {
  backend.incRef(x.dataId);
  return {dataId: x.dataId, shape: x.shape, dtype: x.dtype};
});

/**
 * `Slice`, `SplitV` and `Unpack`, for which the backend copies the whole of `x` for each piece, and `Concat`, for which
 * it makes two views for each run of values. Here runs are copied within the heap, as long as the axes that are taken
 * whole allow.
 */
export const copyKernels: readonly OwnKernel[] = [
  identity,

  wrappedKernel<{x: tf.Tensor}, tf.SliceAttrs>(tf.Slice, stock => call => {
    const {inputs, attrs, backend} = call;
    if (!isNumeric(inputs.x)) {
      return stock(call);
    }
    const [begin, size] = tf.slice_util.parseSliceParams(inputs.x, attrs.begin, attrs.size);
    tf.slice_util.assertParamsValid(inputs.x, begin as number[], size as number[]);
    tf.util.assertNonNegativeIntegerDimensions(size as number[]); // a slice to the end may begin beyond it
    return slice(backend, inputs.x, begin as number[], size as number[]);
  }),

  wrappedKernel<{x: tf.Tensor}, tf.SplitVAttrs, tf.TensorInfo[]>(tf.SplitV, stock => call => {
    const {inputs, attrs, backend} = call;
    const {x} = inputs;
    if (!isNumeric(x)) {
      return stock(call);
    }
    const axis = tf.util.parseAxisParam(attrs.axis, x.shape)[0] as number;
    let from = 0;
    return tf.backend_util.prepareSplitSize(x, attrs.numOrSizeSplits, axis).map(length => {
      const piece = slice(backend, x, ...axisSlice(x.shape, axis, from, length));
      from += length;
      return piece;
    });
  }),

  wrappedKernel<{value: tf.Tensor}, tf.UnpackAttrs, tf.TensorInfo[]>(tf.Unpack, stock => call => {
    const {inputs, attrs, backend} = call;
    const {value} = inputs;
    if (!isNumeric(value)) {
      return stock(call);
    }
    const axis = tf.util.parseAxisParam(attrs.axis, value.shape)[0] as number;
    const shape = value.shape.filter((_, i) => i !== axis);
    return Array.from({length: value.shape[axis] as number}, (_, i) => ({
      ...slice(backend, value, ...axisSlice(value.shape, axis, i, 1)),
      shape,
    }));
  }),

  wrappedKernel<tf.Tensor[], tf.ConcatAttrs>(tf.Concat, stock => call => {
    const {inputs, attrs, backend} = call;
    const [first] = inputs;
    // Of several dtypes, the backend's own converts each value.
    const isCopy = inputs.every(x => isNumeric(x) && x.size > 0 && x.dtype === first?.dtype);
    if (first === undefined || !isCopy || inputs.length === 1) {
      return stock(call);
    }
    const axis = tf.util.parseAxisParam(attrs.axis, first.shape)[0] as number;
    const shapes = inputs.map(x => x.shape);
    tf.backend_util.assertParamsConsistent(shapes, axis);
    const out = backend.makeOutput(tf.backend_util.computeOutShape(shapes, axis), first.dtype);
    const {heap, offsets} = wholeHeap(backend, out, ...inputs);
    const rows = tf.util.sizeFromShape(first.shape.slice(0, axis));
    const runs = inputs.map(x => x.size / rows);
    let to = offsets[0] as number;
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < runs.length; i++) {
        const run = runs[i] as number;
        copyRun(heap, to, (offsets[i + 1] as number) + row * run, run);
        to += run;
      }
    }
    return out;
  }),
];

/** Strings and complex values are not stored in the heap directly. */
export function isNumeric(x: tf.Tensor): boolean {
  return x.dtype !== 'string' && x.dtype !== 'complex64';
}

/** Where the slice from `from` on along `axis` begins, and its size. */
function axisSlice(
  shape: readonly number[],
  axis: number,
  from: number,
  length: number,
): [begin: number[], size: number[]] {
  return [shape.map((_, i) => (i === axis ? from : 0)), shape.map((size, i) => (i === axis ? length : size))];
}

function slice(backend: WasmBackend, x: tf.Tensor, begin: number[], size: number[]): tf.TensorInfo {
  const out = backend.makeOutput(size, x.dtype);
  if (tf.util.sizeFromShape(size) === 0) {
    return out;
  }
  const {heap, offsets} = wholeHeap(backend, x, out);
  // The last axis that is cut and all axes after it are one run.
  let last = x.rank - 1;
  while (last > 0 && size[last] === x.shape[last]) {
    last--;
  }
  const strides = [...tf.util.computeStrides(x.shape), 1];
  const run = last < 0 ? 1 : (size[last] as number) * (strides[last] as number);
  let to = offsets[1] as number;
  const copy = (axis: number, base: number): void => {
    const stride = strides[axis] as number;
    const from = base + (begin[axis] ?? 0) * stride;
    if (axis >= last) {
      copyRun(heap, to, from, run);
      to += run;
      return;
    }
    for (let i = 0; i < (size[axis] as number); i++) {
      copy(axis + 1, from + i * stride);
    }
  };
  copy(0, offsets[0] as number);
  return out;
}

/** Copies values within the heap; source and target must not overlap. */
export function copyRun(heap: Float32Array | Uint8Array, to: number, from: number, length: number): void {
  if (length >= SHORT_RUN) {
    heap.copyWithin(to, from, from + length);
    return;
  }
  for (let i = 0; i < length; i++) {
    heap[to + i] = heap[from + i] as number;
  }
}
