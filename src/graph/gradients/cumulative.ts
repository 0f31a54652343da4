import * as tf from '@tensorflow/tfjs';
import type {OwnKernel} from '../../kernels/registration';

/**
 * `Cumsum` and `Cumprod` along an axis that is counted from the end. tfjs's backends take the number as it is: on cpu
 * the result has another shape, on wasm they write beyond it.
 */
export const cumulativeKernels: readonly OwnKernel[] = [tf.Cumsum, tf.Cumprod].map(name => ({
  name,
  configure: stock =>
    stock && {
      ...stock,
      kernelFunc: call => {
        const {x} = call.inputs as {x: tf.Tensor};
        const [axis = 0] = tf.util.parseAxisParam(call.attrs?.axis as number, x.shape);
        return stock.kernelFunc({...call, attrs: {...call.attrs, axis}});
      },
    },
}));

/**
 * The gradient of sums so far: sums of it, the other way round. tfjs's own is transposed along another axis than the
 * last.
 */
export const cumsumGradient: tf.GradConfig = {
  kernelName: tf.Cumsum,
  gradFunc: (dy, _, attrs) => {
    const {axis, exclusive, reverse} = attrs as unknown as tf.CumsumAttrs;
    return {x: () => tf.cumsum(dy as tf.Tensor, axis, exclusive, !reverse)};
  },
};
