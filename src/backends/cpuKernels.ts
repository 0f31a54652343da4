import * as tf from '@tensorflow/tfjs';
import {batchNormKernel} from './shared/batchNorm';
import type {OwnKernel} from './shared/registration';
import {bilinear, nearest, resizeGradientKernel} from './shared/resizing';
import {addToMaxima, pooling3D} from './shared/windows';

/** The gradient of a 3-D max pooling on cpu. The backend's own takes the height of a window for its width. */
const maxPool3dGradient: OwnKernel = {
  name: tf.MaxPool3DGrad,
  configure: stock =>
    stock && {
      ...stock,
      kernelFunc: ({inputs, attrs}) => {
        const {dy, input} = inputs as {dy: tf.Tensor; input: tf.Tensor};
        const dx = new Float32Array(input.size);
        const [x, gradients] = [input.dataSync<'float32'>(), dy.dataSync<'float32'>()];
        addToMaxima(dx, x, gradients, pooling3D(input, attrs as unknown as tf.MaxPool3DGradAttrs));
        return tf.tensor(dx, input.shape);
      },
    },
};

/** The gradients of resizes, which replace those of the cpu backend. */
const resizeGradients: readonly OwnKernel[] = [
  resizeGradientKernel(tf.ResizeBilinearGrad, bilinear, () => true),
  resizeGradientKernel(tf.ResizeNearestNeighborGrad, nearest, () => true),
];

/** Kernels that correct what the cpu backend gets wrong. */
export const cpuKernels: readonly OwnKernel[] = [batchNormKernel, maxPool3dGradient, ...resizeGradients];
