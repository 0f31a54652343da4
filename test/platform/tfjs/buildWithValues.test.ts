import * as tf from '@tensorflow/tfjs';
import {buildWithValues} from '../../../src/platform/tfjs/buildWithValues';
import {tensorOfBytes} from '../../../src/platform/tfjs/tensorOfBytes';
import {numbers, withoutLeaks} from '../../helpers';

test('a tensor is made of bytes that begin anywhere, and keeps its values when they change', () => {
  const bytes = new Uint8Array(13);
  bytes.set(new Uint8Array(Float32Array.of(1.5, -2, 3).buffer), 1);
  const tensor = tensorOfBytes(bytes.subarray(1), [3, 1]);
  bytes.fill(0);
  expect([tensor.shape, tensor.dtype, numbers(tensor)]).toEqual([[3, 1], 'float32', [1.5, -2, 3]]);
});

test('weights of a new layer are the tensors that it starts with, and others are zeros', async () => {
  await withoutLeaks(() => {
    const layer = tf.layers.dense({units: 2});
    layer.setFastWeightInitDuringBuild(true);
    const kernel = tf.tensor2d([1, 2, 3, 4, 5, 6], [3, 2]);
    const {numDataBuffers} = tf.memory();
    buildWithValues(layer, new Map([['kernel', kernel]]), () => layer.apply(tf.input({shape: [3]})));
    expect(tf.memory().numDataBuffers).toBe(numDataBuffers + 1);
    expect(layer.getWeights().map(numbers)).toEqual([
      [1, 2, 3, 4, 5, 6],
      [0, 0],
    ]);
    expect(Object.hasOwn(layer, 'addWeight')).toBe(false);
    kernel.dispose();
    layer.dispose();
  });
});
