import * as tf from '@tensorflow/tfjs';
import {pooling3D, positionsOfMaxima} from './wasm/composed/pool';
import type {OwnKernel} from './registration';

/** What is used of tfjs's `MathBackendCPU`. */
interface CpuBackend {
  data: {get: (dataId: tf.DataId) => {values: Float32Array}};
  makeTensorInfo(shape: number[], dtype: tf.DataType, values: Float32Array): tf.TensorInfo;
}

/** The gradient of a 3-D max pooling on cpu. The backend's own takes the height of a window for its width. */
export const maxPool3dGradient: OwnKernel = {
  name: tf.MaxPool3DGrad,
  configure: stock =>
    stock && {
      ...stock,
      kernelFunc: ({inputs, attrs, backend}) => {
        const {dy, input} = inputs as {dy: tf.Tensor; input: tf.Tensor};
        const cpu = backend as CpuBackend;
        const [gradients, x] = [dy, input].map(({dataId}) => cpu.data.get(dataId).values) as [
          Float32Array,
          Float32Array,
        ];
        const dx = new Float32Array(x.length);
        const pooling = pooling3D(input, attrs as unknown as tf.MaxPool3DGradAttrs);
        positionsOfMaxima(x, pooling).forEach((position, i) => {
          if (position >= 0) {
            dx[position] = (dx[position] as number) + (gradients[i] as number);
          }
        });
        return cpu.makeTensorInfo(input.shape, 'float32', dx);
      },
    },
};
