import * as tf from '@tensorflow/tfjs';
import {copyRun, isNumeric} from './copy';
import {heapViews, wholeHeap, wrappedKernel, type WasmKernel} from './kernel';

/** `GatherV2`, `Reverse` and `Tile`, which the backend does number by number, working out each one's place anew (30 ns). */
export const arrangeKernels: readonly WasmKernel[] = [
  wrappedKernel<{x: tf.Tensor; indices: tf.Tensor}, tf.GatherV2Attrs>(
    tf.GatherV2,
    stock => call => {
      const {inputs, attrs, backend} = call;
      const {x, indices} = inputs;
      if (attrs.batchDims !== 0 || !isNumeric(x) || x.size === 0 || indices.dtype !== 'int32') {
        return stock(call);
      }
      const axis = tf.util.parseAxisParam(attrs.axis, x.shape)[0] as number;
      const rows = x.shape[axis] as number;
      const places = Array.from((heapViews(backend, indices) as [Int32Array])[0]);
      if (places.some(place => place < 0 || place >= rows)) {
        // It has the words for this.
        return stock(call);
      }
      const before = x.shape.slice(0, axis);
      const after = x.shape.slice(axis + 1);
      const out = backend.makeOutput([...before, ...indices.shape, ...after], x.dtype);
      const {heap, offsets} = wholeHeap(backend, x, out);
      const run = tf.util.sizeFromShape(after);
      const count = tf.util.sizeFromShape(before);
      let [from, to] = offsets as [number, number];
      for (let i = 0; i < count; i++) {
        for (const place of places) {
          copyRun(heap, to, from + place * run, run);
          to += run;
        }
        from += rows * run;
      }
      return out;
    },
  ),

  wrappedKernel<{x: tf.Tensor}, tf.ReverseAttrs>(tf.Reverse, stock => call => {
    const {inputs, attrs, backend} = call;
    const {x} = inputs;
    const axes = tf.util.parseAxisParam(attrs.dims, x.shape);
    if (!isNumeric(x) || axes.length === 0 || x.size === 0) {
      return stock(call);
    }
    const last = Math.max(...axes);
    const run = tf.util.sizeFromShape(x.shape.slice(last + 1));
    const out = backend.makeOutput(x.shape, x.dtype);
    const {heap, offsets} = wholeHeap(backend, x, out);
    let to = offsets[1] as number;
    const copy = (axis: number, from: number, size: number): void => {
      const length = x.shape[axis] as number;
      const step = size / length;
      const isReversed = axes.includes(axis);
      for (let i = 0; i < length; i++) {
        const next = from + (isReversed ? length - 1 - i : i) * step;
        if (axis < last) {
          copy(axis + 1, next, step);
        } else {
          copyRun(heap, to, next, run);
          to += run;
        }
      }
    };
    copy(0, offsets[0] as number, x.size);
    return out;
  }),

  wrappedKernel<{x: tf.Tensor}, {reps: number[]}>(tf.Tile, stock => call => {
    const {inputs, attrs, backend} = call;
    const {x} = inputs;
    const tiled = attrs.reps.flatMap((times, axis) => (times === 1 ? [] : [axis]));
    const [axis] = tiled;
    // One axis at a time is what gradients ask for.
    if (!isNumeric(x) || axis === undefined || tiled.length > 1 || x.size === 0) {
      return stock(call);
    }
    const times = attrs.reps[axis] as number;
    const out = backend.makeOutput(
      x.shape.map((length, i) => (i === axis ? length * times : length)),
      x.dtype,
    );
    const {heap, offsets} = wholeHeap(backend, x, out);
    const count = tf.util.sizeFromShape(x.shape.slice(0, axis));
    const run = x.size / count;
    let [from, to] = offsets as [number, number];
    for (let i = 0; i < count; i++) {
      repeatRun(heap, to, from, run, times);
      from += run;
      to += run * times;
    }
    return out;
  }),
];

/** Copies a run `times` over: once, then what is there already, ever longer. */
function repeatRun(
  heap: Float32Array | Uint8Array,
  to: number,
  from: number,
  run: number,
  times: number,
): void {
  const whole = run * times;
  copyRun(heap, to, from, Math.min(run, whole));
  for (let done = run; done < whole; done *= 2) {
    copyRun(heap, to + done, to, Math.min(done, whole - done));
  }
}
