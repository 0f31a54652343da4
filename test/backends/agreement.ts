import * as tf from '@tensorflow/tfjs';
import {useBackend, withoutLeaks} from '../helpers';

/** What `compute` gives on `backend`, as numbers. */
async function on(backend: string, compute: () => tf.Tensor[]): Promise<Float32Array[]> {
  await useBackend(backend);
  const tensors = tf.tidy(compute);
  const values = tensors.map(tensor => tensor.dataSync<'float32'>());
  tf.dispose(tensors);
  return values;
}

/** Expects that `compute` gives on wasm what it gives on cpu, and leaks nothing. */
export async function expectAgreement(compute: () => tf.Tensor[]): Promise<void> {
  const expected = await on('cpu', compute);
  await useBackend('wasm');
  await withoutLeaks(async () => {
    const actual = await on('wasm', compute);
    for (const [i, numbers] of actual.entries()) {
      expect(numbers).toBeAllClose(expected[i]!, {rtol: 1e-4, atol: 1e-4});
    }
  });
}
