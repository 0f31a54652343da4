import * as tf from '@tensorflow/tfjs';
import {wrappedKernel} from '../../../backends/shared/kernel';
import type {OwnKernel} from '../../../backends/shared/registration';

// On webgpu, a transpose of integers of three axes and more has a shader that does not compile, so that its result is
// zeros or other values. Reductions along axes that are not the last ones begin with one.

/** `Cast` to floats. The backend's own shares the data, which its shaders read as integers. */
const cast = wrappedKernel<{x: tf.Tensor}, {dtype: tf.DataType}>(tf.Cast, stock => call => {
  const result = stock(call);
  const isWhole = call.inputs.x.dtype === 'int32' || call.inputs.x.dtype === 'bool';
  return isWhole && call.attrs.dtype === 'float32'
    ? tf.tidy(() => tf.mul(tf.engine().makeTensorFromTensorInfo(result), 1))
    : result;
});

/** Computes with floats, which hold integers up to 2^24, as those of the backend's other shaders do. */
function byFloats(name: string): OwnKernel {
  return wrappedKernel<{x: tf.Tensor}, tf.NamedAttrMap>(name, stock => call => {
    const {
      inputs: {x},
      attrs,
    } = call;
    return x.dtype === 'int32' || x.dtype === 'bool'
      ? tf.tidy(() => tf.cast(tf.engine().runKernel<tf.Tensor>(name, {x: tf.cast(x, 'float32')}, attrs), x.dtype))
      : stock(call);
  });
}

export const integerKernels: readonly OwnKernel[] = [
  cast,
  ...[tf.Transpose, tf.Sum, tf.Prod, tf.Max, tf.Min].map(byFloats),
];
