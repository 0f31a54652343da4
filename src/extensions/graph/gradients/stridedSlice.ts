import * as tf from '@tensorflow/tfjs';
import {type Margin, withMargins, withZerosBetween} from '../../../backends/shared/geometry';
import type {OwnKernel} from '../../../backends/shared/registration';

/** Puts the gradient back to where the slice was taken, with zeros around it and between its parts. */
export const stridedSliceGradient: tf.GradConfig = {
  kernelName: tf.StridedSlice,
  inputsToSave: ['x'],
  gradFunc: (dy, saved, attrs) => ({
    x: () =>
      tf.tidy(() => spread(dy as tf.Tensor, (saved[0] as tf.Tensor).shape, attrs as unknown as tf.StridedSliceAttrs)),
  }),
};

/** The range of a slice along each axis, and the shape of the result. */
function alongAxes(
  shape: number[],
  {begin, end, strides, beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask}: tf.StridedSliceAttrs,
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
        const info = alongAxes(x.shape, call.attrs as unknown as tf.StridedSliceAttrs);
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

function spread(dy: tf.Tensor, shape: number[], slice: tf.StridedSliceAttrs): tf.Tensor {
  const {begin, end, strides} = alongAxes(shape, slice);
  const sizes = tf.slice_util.computeOutShape(begin, end, strides).map(size => Math.max(size, 0));
  if (sizes.includes(0)) {
    return tf.zeros(shape);
  }
  let gradient = tf.reshape(dy, sizes);
  const backwards = strides.flatMap((stride, axis) => (stride < 0 ? [axis] : []));
  if (backwards.length > 0) {
    gradient = tf.reverse(gradient, backwards);
  }
  strides.forEach((stride, axis) => {
    const [count, step] = [sizes[axis] ?? 0, Math.abs(stride)];
    const first = (begin[axis] ?? 0) + (stride < 0 ? (count - 1) * stride : 0);
    const margin: Margin = [first, (shape[axis] ?? 0) - first - (count - 1) * step - 1];
    const margins = sizes.map((_, i): Margin => (i === axis ? margin : [0, 0]));
    gradient = withMargins(withZerosBetween(gradient, axis, step), margins);
  });
  return gradient;
}
