import * as tf from '@tensorflow/tfjs';
import {directPass} from '../../../src/extensions/language/directPass';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';

beforeAll(() => useBackend('cpu'));

/** Tensors read twice, a layer that returns its input, one with two inputs, and one in a model of its own. */
function branched(): tf.LayersModel {
  const input = tf.input({shape: [3, 4]});
  const inner = tf.sequential({layers: [tf.layers.dense({units: 4, activation: 'tanh', inputShape: [3, 4]})]});
  const hidden = inner.apply(tf.layers.dropout({rate: 0.5}).apply(input)) as tf.SymbolicTensor;
  const sum = tf.layers.add().apply([hidden, input]) as tf.SymbolicTensor;
  const output = tf.layers.multiply().apply([tf.layers.dense({units: 4}).apply(sum) as tf.SymbolicTensor, hidden]);
  return tf.model({inputs: input, outputs: output as tf.SymbolicTensor});
}

test('it returns the bits of apply, keeps the inputs, and frees tensors in between', async () => {
  const model = branched();
  const x = random([2, 3, 4], 1);
  const pass = directPass(model);
  const expected = tf.tidy(() => numbers(model.apply(x) as tf.Tensor));
  await withoutLeaks(() => {
    for (let i = 0; i < 2; i++) {
      const y = pass([x]);
      expect(numbers(y)).toEqual(expected);
      y.dispose();
    }
  });
  expect(x.isDisposed).toBe(false);
});

test('masks of tfjs reach the layers that use them', () => {
  const input = tf.input({shape: [4]});
  const embedded = tf.layers.embedding({inputDim: 5, outputDim: 3, maskZero: true}).apply(input);
  const output = tf.layers.lstm({units: 2}).apply(embedded) as tf.SymbolicTensor;
  const model = tf.model({inputs: input, outputs: output});

  const ids = tf.tensor2d([[1, 2, 0, 0]]);
  expect(numbers(directPass(model)([ids]))).toEqual(numbers(model.apply(ids) as tf.Tensor));
});
