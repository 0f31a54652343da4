import * as tf from '@tensorflow/tfjs';
import {copyRun, isNumeric} from './copy';
import {wrappedKernel} from '../../shared/kernel';
import {heapViews, wholeHeap} from './heap';
import type {OwnKernel} from '../../shared/registration';

/**
 * `GatherV2`, `Reverse`, `Tile` and `DepthToSpace`, which the backend does one value at a time (30 ns). Its own
 * `GatherV2` reads other indices than those of a row, and beyond the memory, if there are batch dimensions. Its
 * `Reverse` along no axis writes four bytes for each truth value. Its `PadV2` writes beyond the result where a margin
 * is negative, which crops.
 */
export const arrangeKernels: readonly OwnKernel[] = [
  wrappedKernel<{x: tf.Tensor; indices: tf.Tensor}, tf.GatherV2Attrs>(tf.GatherV2, stock => call => {
    const {inputs, attrs, backend} = call;
    const {x, indices} = inputs;
    if (!isNumeric(x) || indices.dtype !== 'int32' || indices.size === 0) {
      return stock(call);
    }
    const axis = tf.util.parseAxisParam(attrs.axis, x.shape)[0] as number;
    const {batchSize, outerSize, dimSize, sliceSize, outputShape} =
      tf.backend_util.segment_util.collectGatherOpShapeInfo(x, indices, axis, attrs.batchDims);
    const places = Array.from((heapViews(backend, indices) as [Int32Array])[0]);
    if (places.some(place => place < 0 || place >= dimSize)) {
      // It throws the error for this.
      return stock(call);
    }
    const out = backend.makeOutput(outputShape, x.dtype);
    const {heap, offsets} = wholeHeap(backend, x, out);
    const count = places.length / batchSize;
    let [from, to] = offsets as [number, number];
    for (let batch = 0; batch < batchSize; batch++) {
      const blockIndices = places.slice(batch * count, (batch + 1) * count);
      for (let i = 0; i < outerSize; i++) {
        for (const place of blockIndices) {
          copyRun(heap, to, from + place * sliceSize, sliceSize);
          to += sliceSize;
        }
        from += dimSize * sliceSize;
      }
    }
    return out;
  }),

  wrappedKernel<{x: tf.Tensor}, tf.ReverseAttrs>(tf.Reverse, stock => call => {
    const {inputs, attrs, backend} = call;
    const {x} = inputs;
    // An axis that is named twice is reversed twice.
    const axes = tf.util
      .parseAxisParam(attrs.dims, x.shape)
      .filter((axis, _, all) => all.filter(other => other === axis).length % 2 === 1);
    if (axes.length === 0 || x.size === 0) {
      return tf.clone(x);
    }
    if (!isNumeric(x)) {
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
    const {
      inputs: {x},
      attrs: {reps},
      backend,
    } = call;
    const outShape = x.shape.map((length, axis) => length * (reps[axis] as number));
    if (!isNumeric(x) || tf.util.sizeFromShape(outShape) === 0) {
      return stock(call);
    }
    const last = reps.reduce((lastRepeated, times, axis) => (times === 1 ? lastRepeated : axis), -1);
    const out = backend.makeOutput(outShape, x.dtype);
    const {heap, offsets} = wholeHeap(backend, x, out);
    /** Writes what `from` holds from `axis` inwards; gives its length. */
    const write = (axis: number, to: number, from: number, size: number): number => {
      if (axis > last) {
        copyRun(heap, to, from, size);
        return size;
      }
      const length = x.shape[axis] as number;
      const step = size / length;
      let written = 0;
      for (let i = 0; i < length; i++) {
        written += write(axis + 1, to + written, from + i * step, step);
      }
      const tiledSize = written * (reps[axis] as number);
      for (let done = written; done < tiledSize; done *= 2) {
        copyRun(heap, to + done, to, Math.min(done, tiledSize - done));
      }
      return tiledSize;
    };
    write(0, offsets[1] as number, offsets[0] as number, x.size);
    return out;
  }),

  wrappedKernel<{x: tf.Tensor}, tf.PadV2Attrs>(tf.PadV2, stock => call => {
    const {
      inputs: {x},
      attrs: {paddings, constantValue},
    } = call;
    if (!paddings.flat().some(size => size < 0)) {
      return stock(call);
    }
    return tf.tidy(() => {
      const begin = paddings.map(([before]) => Math.max(0, -before));
      const size = paddings.map(([before, after], axis) =>
        Math.max(0, (x.shape[axis] as number) + Math.min(0, before) + Math.min(0, after)),
      );
      const margins = paddings.map(pair => pair.map(length => Math.max(0, length)) as [number, number]);
      return tf.pad(tf.slice(x, begin, size), margins, constantValue);
    });
  }),

  wrappedKernel<{x: tf.Tensor}, tf.DepthToSpaceAttrs>(tf.DepthToSpace, stock => call => {
    const {
      inputs: {x},
      attrs: {blockSize, dataFormat},
    } = call;
    if (!isNumeric(x) || dataFormat !== 'NHWC' || x.size === 0) {
      return stock(call);
    }
    const [n, height, width, channels] = x.shape as [number, number, number, number];
    const depth = channels / blockSize ** 2;
    return tf.tidy(() => {
      const blocks = tf.reshape(x, [n, height, width, blockSize, blockSize, depth]);
      const lines = tf.transpose(blocks, [0, 1, 3, 2, 4, 5]);
      return tf.reshape(lines, [n, height * blockSize, width * blockSize, depth]);
    });
  }),
];
