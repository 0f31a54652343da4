import * as tf from '@tensorflow/tfjs';
import {adaptLayer, disposeModel, isLoRALayer, LoRADense, mergeLoRA, trainableVariables} from '../src/layers';
import {numbers, withoutLeaks} from './helpers';
import {MemoryHandler} from './models';

/** A model of one LoRA layer around a kernel of ones, with A = [1, 2]ᵀ and B = [3]: W + A·B = [4, 7]ᵀ. */
function byHand(): tf.LayersModel {
  const dense = tf.layers.dense({units: 1, inputShape: [2], kernelInitializer: 'ones', useBias: false});
  const layer = new LoRADense({layer: dense, rank: 1});
  const model = tf.sequential({layers: [layer]});
  tf.tidy(() => {
    layer.setParameter('lora_A', tf.tensor2d([[1], [2]]));
    layer.setParameter('lora_B', tf.tensor2d([[3]]));
  });
  return model;
}

const outputOf = (model: tf.LayersModel) => tf.tidy(() => numbers(model.predict(tf.tensor2d([[1, 10]])) as tf.Tensor));

test('a model that is built by hand trains, loads from a file, and merges', async () => {
  const model = byHand();
  expect(outputOf(model)).toEqual([74]); // 1·4 + 10·7

  const file = new MemoryHandler();
  await model.save(file);
  const loaded = await tf.loadLayersModel(file);
  expect(loaded.layers.filter(isLoRALayer)).toHaveLength(1);
  expect(outputOf(loaded)).toEqual([74]);

  const merged = mergeLoRA(loaded);
  expect(merged.layers[0]!.getClassName()).toBe('Dense');
  expect(numbers(merged.layers[0]!.getWeights()[0]!)).toEqual([4, 7]);
  expect(outputOf(merged)).toEqual([74]);

  loaded.compile({optimizer: tf.train.sgd(1), loss: (_, y) => tf.sum(y)});
  const [x, y] = [tf.tensor2d([[1, 10]]), tf.zeros([1, 1])];
  await loaded.fit(x, y, {epochs: 1, verbose: 0});
  // dA = xᵀ·B = [3, 30]ᵀ and dB = x·A = 21: A = [−2, −28]ᵀ, B = [−18], and W stays.
  expect(outputOf(loaded)).toEqual([1 * (1 + 36) + 10 * (1 + 504)]);
  expect(trainableVariables(loaded)).toHaveLength(2);
});

test('adaptLayer takes the class of the layer, and leaks nothing', async () => {
  await withoutLeaks(() => {
    const conv = tf.layers.conv2d({filters: 2, kernelSize: 1, inputShape: [2, 2, 3]});
    const model = tf.sequential({layers: [adaptLayer({layer: conv, rank: 1})]});
    expect(model.layers.map(layer => layer.getClassName())).toEqual(['tfjs-lora>LoRAConv2D']);
    disposeModel(model);
  });
});
