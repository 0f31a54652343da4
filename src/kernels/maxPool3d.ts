import * as tf from '@tensorflow/tfjs';
import {addToMaxima, pooling3D} from './wasm/composed/pool';
import type {OwnKernel} from './registration';

/** The gradient of a 3-D max pooling on cpu. The backend's own takes the height of a window for its width. */
export const maxPool3dGradient: OwnKernel = {
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
