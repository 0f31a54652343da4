import * as tf from '@tensorflow/tfjs';
import type {OwnKernel} from '../../../backends/shared/registration';

/** The attributes of a StridedSlice. */
interface Slice {
  begin: number[];
  end: number[];
  strides: number[];
  beginMask: number;
  endMask: number;
  ellipsisMask: number;
  newAxisMask: number;
  shrinkAxisMask: number;
}

/** Puts the gradient back to where the slice was taken, with zeros around it and between its parts. */
export const stridedSliceGradient: tf.GradConfig = {
  kernelName: tf.StridedSlice,
  inputsToSave: ['x'],
  gradFunc: (dy, saved, attrs) => ({
    x: () => tf.tidy(() => spread(dy as tf.Tensor, (saved[0] as tf.Tensor).shape, attrs as unknown as Slice)),
  }),
};

/** The range of a slice along each axis, and the shape of the result. */
function alongAxes(
  shape: number[],
  {begin, end, strides, beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask}: Slice,
): ReturnType<typeof tf.slice_util.sliceInfo> {
  const info = tf.slice_util.sliceInfo(
    ...([shape, begin, end, strides, beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask] as const),
  );
  // tfjs computes negative sizes where a slice ends before it begins.
  return {...info, finalShape: info.finalShape.map(size => Math.max(size, 0))};
}

/**
 * The kernel for slices with steps. Those of cpu and wasm apply the steps of the remaining axes to those of the tensor,
 * and wasm returns integers as floats. If an axis is dropped, the shader of webgpu does not compile, and webgl throws.
 */
export const stridedSliceKernel: OwnKernel = {
  name: tf.StridedSlice,
  configure: stock =>
    stock && {
      ...stock,
      kernelFunc: call => {
        const {x} = call.inputs as {x: tf.Tensor};
        const info = alongAxes(x.shape, call.attrs as unknown as Slice);
        if (x.dtype === 'string' || info.isIdentity || info.sliceDim0 || info.isSimpleSlice) {
          return stock.kernelFunc(call);
        }
        const {begin, end, strides, finalShape} = info;
        if (finalShape.includes(0)) {
          return tf.zeros(finalShape, x.dtype);
        }
        return tf.tidy(() => {
          const taken = strides.reduce<tf.Tensor>(
            (remaining, stride, axis) =>
              tf.gather(remaining, tf.range(begin[axis] ?? 0, end[axis] ?? 0, stride, 'int32'), axis),
            x,
          );
          return tf.reshape(taken, finalShape);
        });
      },
    },
};

function spread(dy: tf.Tensor, shape: number[], slice: Slice): tf.Tensor {
  const {begin, end, strides} = alongAxes(shape, slice);
  const sizes = tf.slice_util.computeOutShape(begin, end, strides).map(size => Math.max(size, 0));
  let gradient = tf.reshape(dy, sizes);
  const backwards = strides.flatMap((stride, axis) => (stride < 0 ? [axis] : []));
  if (backwards.length > 0) {
    gradient = tf.reverse(gradient, backwards);
  }
  strides.forEach((stride, axis) => {
    const count = sizes[axis] ?? 0;
    const first = (begin[axis] ?? 0) + (stride < 0 ? (count - 1) * stride : 0);
    gradient = spreadAlongAxis(gradient, axis, {first, step: Math.abs(stride), length: shape[axis] ?? 0});
  });
  return gradient;
}

/** Spreads the entries of a tensor along an axis to every `step`-th index of a longer one. */
function spreadAlongAxis(
  x: tf.Tensor,
  axis: number,
  {first, step, length}: {first: number; step: number; length: number},
): tf.Tensor {
  const count = x.shape[axis] ?? 0;
  const shape = x.shape.map((size, i) => (i === axis ? length : size));
  if (count === 0) {
    return tf.zeros(shape);
  }
  // webgl pads tensors of at most four axes.
  const outer = tf.util.sizeFromShape(x.shape.slice(0, axis));
  const inner = tf.util.sizeFromShape(x.shape.slice(axis + 1));
  const reach = (count - 1) * step + 1;
  let spaced: tf.Tensor = tf.reshape(x, [outer, count, inner]);
  if (step > 1) {
    const cells = tf.pad(tf.reshape(x, [outer, count, 1, inner]), [
      [0, 0],
      [0, 0],
      [0, step - 1],
      [0, 0],
    ]);
    spaced = tf.slice(tf.reshape(cells, [outer, count * step, inner]), [0, 0, 0], [outer, reach, inner]);
  }
  const placed = tf.pad(spaced, [
    [0, 0],
    [first, length - first - reach],
    [0, 0],
  ]);
  return tf.reshape(placed, shape);
}
