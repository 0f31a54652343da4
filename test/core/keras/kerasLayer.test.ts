import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, getAdapter, loadKerasModel, mergeLoRA, removeLoRA, setAdapter} from 'tfjs-lora';
import {KerasLayer, type KerasLayerArgs} from '../../../src/core/keras/kerasLayer';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {handlerOf} from './converted';
import {kerasCases} from './kerasLayers';

beforeEach(() => useBackend('cpu'));

/** A model of the cases, by its name. */
function load(name: string): Promise<tf.LayersModel> {
  const found = kerasCases(3).find(one => one.name === name)!;
  return loadKerasModel(handlerOf(found.artifacts));
}

describe('the gradient is that of finite differences', () => {
  test.each<[string, KerasLayerArgs]>([
    ['relu', {computes: 'relu', maxValue: 1, negativeSlope: 0.2, threshold: 0.3}],
    ['rescaling', {computes: 'rescaling', scale: [2, 3], offset: 1}],
    ['average', {computes: 'average', axes: [1, 2], keepdims: true}],
    ['max', {computes: 'max', axes: [1, 2], keepdims: true}],
    ['softmax', {computes: 'softmax', axes: [1, 2]}],
    ['normalization', {computes: 'normalization', axes: [-1], mean: [1, 2], variance: [4, 9]}],
    ['bilinear', {computes: 'resizing', sizes: [5, 2], interpolation: 'bilinear'}],
    ['nearest', {computes: 'resizing', sizes: [5, 2], interpolation: 'nearest'}],
    ['twice as large', {computes: 'resizing', factors: [2, 2], interpolation: 'bilinear', dataFormat: 'channelsFirst'}],
    ['cropped', {computes: 'centerCrop', sizes: [2, 1]}],
    ['cropped to the proportions', {computes: 'resizing', sizes: [2, 2], interpolation: 'bilinear', crops: true}],
  ])('%s', (_name, args) => {
    // A tenth apart from each other, and further than the steps from where anything has a kink.
    const x = tf.tensor(
      Array.from({length: 24}, (_, i) => ((i * 7) % 24) / 10 - 1.15),
      [1, 3, 4, 2],
    );
    const layer = new KerasLayer({...args, name: 'it'});
    const weights = random((layer.apply(x) as tf.Tensor).shape, 2);
    const sum = (input: tf.Tensor) => tf.sum(tf.mul(layer.apply(input) as tf.Tensor, weights));
    const found = numbers(tf.grad(sum)(x));
    const values = numbers(x);
    found.forEach((slope, i) => {
      const [above, below] = [1e-2, -1e-2].map(step =>
        tf.tidy(
          () =>
            numbers(
              sum(
                tf.tensor(
                  values.map((value, j) => (j === i ? value + step : value)),
                  x.shape,
                ),
              ),
            )[0]!,
        ),
      );
      expect(Math.abs(slope - (above! - below!) / 2e-2)).toBeLessThan(2e-3);
    });
  });
});

test.each(['SeparableConv1D', 'DepthwiseConv2D dilation_rate=2'])('%s is adapted, trained and merged', async name => {
  await useBackend('wasm');
  await withoutLeaks(async () => {
    const base = await load(name);
    const [, ...shape] = base.inputs[0]!.shape as number[];
    const x = random([2, ...shape], 1);
    const predict = (model: tf.LayersModel) => tf.tidy(() => numbers(model.predict(x) as tf.Tensor));
    const before = predict(base);
    const adapted = applyLoRA(base, {rank: 1, targets: ['it']});
    expect(predict(adapted)).toEqual(before);

    const y = tf.zeros([2, ...(base.outputs[0]!.shape.slice(1) as number[])]);
    const optimizer = tf.train.adam(0.05);
    adapted.compile({optimizer, loss: 'meanSquaredError'});
    const {history} = await adapted.fit(x, y, {epochs: 20, verbose: 0});
    const losses = history.loss as number[];
    expect(losses.at(-1)).toBeLessThan(losses[0]! / 1.3);

    const merged = mergeLoRA(adapted);
    const removed = removeLoRA(adapted);
    const trained = predict(adapted);
    predict(merged).forEach((value, i) => expect(value).toBeCloseTo(trained[i]!, 4));
    expect(predict(removed)).toEqual(before);
    const adapter = getAdapter(adapted);
    const other = applyLoRA(base, {rank: 1, targets: ['it']});
    setAdapter(other, adapter);
    expect(predict(other)).toEqual(trained);
    tf.dispose([x, y, adapter.tensors]);
    [other, removed, merged, adapted, base].forEach(disposeModel);
    optimizer.dispose();
  });
});

test('what it computes has to be known', () => {
  expect(() => new KerasLayer({computes: 'toString', name: 'it'})).toThrow(
    'Layer "it" computes "toString", which is not known here.',
  );
});

test('numbers of a normalization have to fit its input', () => {
  const layer = new KerasLayer({computes: 'normalization', axes: [-1], mean: [1, 2], variance: [1, 2], name: 'it'});
  expect(() => layer.apply(tf.input({shape: [3]}))).toThrow('Layer "it" has 2 numbers for an input of [null, 3].');
});
