import * as tf from '@tensorflow/tfjs';
import {TrainedLayer} from '../../../src/core/layers/unadaptedLayer';
import {applyLoRA} from '../../../src/core/model/apply';
import type {LoRAConfig} from '../../../src/core/model/config';
import {numbers, random, withoutLeaks} from '../../helpers';
import {cnn, mlp, nested, predictions, reloaded, type Specimen, stir, timeDistributed, train} from '../../models';

const values = (layer: tf.layers.Layer) => layer.weights.map(weight => numbers(weight.read()));
const isTrainable = ({weights}: tf.layers.Layer) => weights.map(weight => (weight.read() as tf.Variable).trainable);

/** Fits for four batches; after the second one `stop` is called. */
async function fitAndStop(model: tf.LayersModel, inputs: tf.Tensor[], stop: () => void): Promise<void> {
  model.compile({optimizer: tf.train.sgd(0.1), loss: 'meanSquaredError'});
  const rows = inputs[0]!.shape[0];
  const targets = random([rows, model.outputs[0]!.shape[1]!], 9);
  const onBatchEnd = (batch: number) => {
    if (batch === 1) {
      stop();
    }
    return Promise.resolve();
  };
  await model.fit(inputs[0]!, targets, {batchSize: rows / 4, verbose: 0, shuffle: false, callbacks: {onBatchEnd}});
}

const four = ({model, inputs}: Specimen): Specimen => ({
  model,
  inputs: inputs.map(input => tf.concat(Array.from({length: 4}, () => input))),
});

test.each<[what: string, make: () => Specimen, config: LoRAConfig, layer: string]>([
  ['a layer that trains in full', mlp, {trainInFull: ['head']}, 'head'],
  ['a normalization that trains in full', cnn, {targets: ['conv'], trainInFull: ['norm']}, 'norm'],
  ['a bias beside factors', mlp, {bias: 'adapted'}, 'head'],
  ['a bias alone', cnn, {targets: ['conv'], bias: 'all'}, 'head'],
  ['an unfrozen base', mlp, {freezeBaseLayer: false}, 'hidden'],
  ['factors', mlp, {}, 'hidden'],
  ['the factors and biases of a recurrent layer', timeDistributed, {bias: 'adapted'}, 'lstm'],
  ['what is inside TimeDistributed', timeDistributed, {trainInFull: ['step']}, 'steps'],
])(
  '%s stops in the middle of fit when a callback says so, and trains on when told to',
  async (_, make, config, name) => {
    const {model, inputs} = four(make());
    const adapted = applyLoRA(model, {rank: 2, seed: 1, ...config} as LoRAConfig);
    const layer = adapted.getLayer(name);
    const statistics = new Set(layer.weights.filter(({originalName}) => /moving_/.test(originalName)));
    const learned = () => layer.weights.filter(weight => !statistics.has(weight)).map(weight => numbers(weight.read()));
    const flags = isTrainable(layer);
    const [before, count] = [learned(), layer.trainableWeights.length];
    let at: number[][] = [];
    await fitAndStop(adapted, inputs, () => {
      layer.trainable = false;
      at = learned();
    });
    expect(at).not.toEqual(before);
    expect(learned()).toEqual(at);
    expect(layer.trainableWeights).toEqual([]);

    layer.trainable = true;
    expect(layer.trainableWeights).toHaveLength(count);
    expect(isTrainable(layer)).toEqual(flags);
    await fitAndStop(adapted, inputs, () => undefined);
    expect(learned()).not.toEqual(at);
  },
);

test('as in a stock model, the flag of the model reaches all that trains in its layers, and nothing frozen', () => {
  const adapted = applyLoRA(mlp().model, {rank: 2, targets: ['hidden'], trainInFull: ['head'], bias: 'adapted'});
  const flags = adapted.layers.map(isTrainable);
  adapted.trainable = false;
  expect(adapted.layers.flatMap(isTrainable)).not.toContain(true);
  adapted.trainable = true;
  expect(adapted.layers.map(isTrainable)).toEqual(flags);
});

test('the order of weights does not change when a layer stops but for what trains coming first', () => {
  const adapted = applyLoRA(mlp().model, {rank: 2, targets: ['hidden'], bias: 'adapted', trainInFull: ['head']});
  const names = (layer: tf.layers.Layer) => layer.weights.map(({originalName}) => originalName);
  expect(names(adapted.getLayer('hidden'))).toEqual([
    'hidden/lora_A',
    'hidden/lora_B',
    'hidden/bias',
    'hidden/original_bias',
    'hidden/kernel',
  ]);
  for (const layer of adapted.layers) {
    const before = names(layer);
    layer.trainable = false;
    expect([...names(layer)].sort()).toEqual([...before].sort());
  }
});

describe('a frozen layer', () => {
  test('reports that it does not train, also after loading a file, and whatever is set', async () => {
    const adapted = applyLoRA(cnn().model, {rank: 1, targets: ['conv']});
    for (const model of [adapted, await reloaded(adapted)]) {
      const shown = () => Object.fromEntries(model.layers.map(({name, trainable}) => [name, trainable]));
      const expected = {conv: true, norm: false, act: false, pool: true, flat: true, head: false};
      expect(shown()).toEqual(expected);
      model.layers.forEach(layer => (layer.trainable = true));
      expect(shown()).toEqual(expected);
    }
  });

  test('says so inside TimeDistributed', async () => {
    const {model, inputs} = timeDistributed();
    const adapted = applyLoRA(model, {rank: 1, exclude: ['step']});
    const again = await reloaded(adapted);
    expect([adapted, again].map(each => each.getLayer('steps').trainable)).toEqual([false, false]);
    expect(predictions(again, inputs)).toEqual(predictions(adapted, inputs));
  });
});

test('a frozen part of a nested model is not stopped by its container, nor started', () => {
  const adapted = applyLoRA(nested().model, {rank: 1, targets: ['head']});
  const body = adapted.getLayer('body');
  body.trainable = false;
  body.trainable = true;
  expect(isTrainable(body)).toEqual([false, false, false, false]);
  expect(values(body)).toHaveLength(4);
});

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
