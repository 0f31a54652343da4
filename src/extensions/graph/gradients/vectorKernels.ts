import * as tf from '@tensorflow/tfjs';
import {wrappedKernel} from '../../../backends/shared/kernel';
import type {OwnKernel} from '../../../backends/shared/registration';

type Pair = {a: tf.TensorInfo; b: tf.TensorInfo};

const NAMES = [
  tf.Add,
  tf.Atan2,
  tf.Equal,
  tf.FloorDiv,
  tf.Greater,
  tf.GreaterEqual,
  tf.Less,
  tf.LessEqual,
  tf.LogicalAnd,
  tf.LogicalOr,
  tf.Maximum,
  tf.Minimum,
  tf.Mod,
  tf.Multiply,
  tf.NotEqual,
  tf.Pow,
  tf.RealDiv,
  tf.SquaredDifference,
  tf.Sub,
];

/**
 * Operations of two tensors on webgpu. The shader for a vector and a tensor of five or six axes does not compile there,
 * so that the result is zeros: the vector gets an axis more.
 */
export const vectorKernels: readonly OwnKernel[] = NAMES.map(name => ({
  ...wrappedKernel<Pair, tf.NamedAttrMap>(name, stock => call => {
    const {a, b} = call.inputs;
    return Math.max(a.shape.length, b.shape.length) > 4 && Math.min(a.shape.length, b.shape.length) === 1
      ? stock({...call, inputs: {a: asMatrix(a), b: asMatrix(b)}})
      : stock(call);
  }),
  purpose: 'vectors',
}));

/** The same data: a kernel reads shapes from what it gets. */
function asMatrix({dataId, shape, dtype}: tf.TensorInfo): tf.TensorInfo {
  return {dataId, shape: shape.length === 1 ? [1, ...shape] : shape, dtype};
}
