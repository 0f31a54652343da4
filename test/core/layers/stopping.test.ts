import * as tf from '@tensorflow/tfjs';
import type {LoRAConfig} from '../../../src/core/model/config';
import {applyLoRA} from '../../../src/core/model/apply';
import {numbers, random} from '../../helpers';
import {type Specimen, cnn, mlp, nested, predictions, reloaded, timeDistributed} from '../../models';

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
