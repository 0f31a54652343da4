import * as tf from '@tensorflow/tfjs';

/**
 * A tensor of float32 values as they are in a file. The wasm backend copies bytes into its memory, whatever the type of
 * their array is and wherever they begin, so nothing else is copied there. Other backends keep the array that they get.
 */
export function tensorOfBytes(bytes: Uint8Array, shape: readonly number[]): tf.Tensor {
  const isCopied = 'wasm' in tf.backend();
  const values = isCopied ? bytes : new Float32Array(Uint8Array.from(bytes).buffer);
  return tf.engine().makeTensor(values, [...shape], 'float32');
}
