import * as tf from '@tensorflow/tfjs';

/** A webgpu program binds at most eight buffers, including its result. */
const AT_ONCE = 6;

/** The sum of tensors of one shape, in order. On webgpu `tf.addN` gives zeros for eight or more, without an error. */
export function addAll<T extends tf.Tensor>(tensors: readonly T[]): T {
  const [first, ...laterTensors] = tensors as readonly [T, ...T[]];
  let sum = first;
  for (let i = 0; i < laterTensors.length; i += AT_ONCE - 1) {
    sum = tf.addN([sum, ...laterTensors.slice(i, i + AT_ONCE - 1)]);
  }
  return sum;
}
