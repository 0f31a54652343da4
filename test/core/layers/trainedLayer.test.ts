import * as tf from '@tensorflow/tfjs';
import {TrainedLayer} from '../../../src/core/layers/unadaptedLayer';
import {numbers, random, withoutLeaks} from '../../helpers';
import {predictions, reloaded, stir, train} from '../../models';

function models(args: object = {}): [stock: tf.Sequential, trained: tf.Sequential] {
  const stock = tf.sequential({
    layers: [tf.layers.dense({units: 3, activation: 'tanh', name: 'head', inputShape: [4]})],
  });
  stir(stock);
  const layer = new TrainedLayer({layer: stock.layers[0]!, ...args});
  return [stock, tf.sequential({layers: [layer]})];
}

test('a trained layer computes what its base computes and shares its buffers', () => {
  const buffers = tf.memory().numDataBuffers;
  const [stock, trained] = models();
  const x = random([2, 4], 1);
  expect(tf.memory().numDataBuffers - buffers).toBe(2 + 1);
  expect(predictions(trained, [x])).toEqual(predictions(stock, [x]));
  tf.dispose(x);
  stock.dispose();
  trained.dispose();
});

test('a trained layer trains in full and leaves the layer that it came from alone', async () => {
  await withoutLeaks(async () => {
    const [stock, trained] = models();
    const x = random([4, 4], 1);
    const before = stock.weights.map(w => numbers(w.read()));
    await train(trained, [x]);
    expect(stock.weights.map(w => numbers(w.read()))).toEqual(before);
    trained.trainableWeights.forEach((w, i) => {
      expect(numbers(w.read())).not.toEqual(before[i]);
    });
    x.dispose();
    stock.dispose();
    trained.dispose();
  });
});

test('a trained layer gives back its original weights, after a file too, if it was to keep them', async () => {
  const [stock, trained] = models({keepOriginal: true});
  const x = random([4, 4], 1);
  await train(trained, [x]);
  const again = await reloaded(trained);
  expect(again.trainableWeights).toHaveLength(2);
  expect(predictions(again, [x])).toEqual(predictions(trained, [x]));
  const original = tf.layers.dense({units: 3, activation: 'tanh', inputShape: [4]});
  const model = tf.sequential({layers: [original]});
  (again.layers[0] as TrainedLayer).shareOriginal(original);
  expect(predictions(model, [x])).toEqual(predictions(stock, [x]));
  expect(predictions(model, [x])).not.toEqual(predictions(again, [x]));
});

test('all weights of a trained BatchNormalization belong to the adapter, its statistics included', () => {
  const layer = new TrainedLayer({layer: tf.layers.batchNormalization({name: 'norm'})});
  layer.apply(tf.input({shape: [3]}));
  const names = ['beta', 'gamma', 'moving_mean', 'moving_variance'];
  expect([...layer.adapterWeights().keys()].sort()).toEqual(names);
  expect(layer.trainableWeights).toHaveLength(2);
  layer.weights.forEach(weight => weight.dispose());
});
