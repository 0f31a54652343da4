import * as tf from '@tensorflow/tfjs';
import {applyLoRA, getAdapter, mergeLoRA, planLoRA, removeLoRA, scaleAdapter, trainableVariables} from '../../../src';
import {numbers, random} from '../../helpers';
import {mlp, predictions, stir, stirUpdates} from '../../models';

function adaptedModel(
  layer: tf.layers.Layer,
  method: 'ia3' | 'ia3-feedforward',
): {base: tf.LayersModel; model: tf.LayersModel} {
  const base = tf.sequential({layers: [layer]});
  stir(base);
  const model = applyLoRA(base, {method});
  stirUpdates(model);
  return {base, model};
}

test('what a layer gives before its activation is multiplied, its bias too', () => {
  const {base, model} = adaptedModel(tf.layers.dense({units: 3, activation: 'tanh', inputShape: [4]}), 'ia3');
  const [kernel, bias] = base.getWeights() as [tf.Tensor2D, tf.Tensor1D];
  const l = getAdapter(model).tensors[`${base.layers[0]!.name}/ia3_l`]!;
  const x = random([5, 4], 2);
  const expected = tf.tanh(tf.mul(l, tf.add(tf.matMul(x, kernel), bias)));
  expect(predictions(model, [x])[0]).toBeAllClose(numbers(expected));
  const merged = mergeLoRA(model).getWeights().map(numbers);
  expect(merged[0]).toBeAllClose(numbers(tf.mul(kernel, l)));
  expect(merged[1]).toBeAllClose(numbers(tf.mul(bias, l)));
  expect(removeLoRA(model).getWeights().map(numbers)).toEqual(base.getWeights().map(numbers));
});

test('of a feed-forward layer what comes in is multiplied', () => {
  const layer = tf.layers.conv2d({filters: 3, kernelSize: 2, inputShape: [4, 4, 2]});
  const {base, model} = adaptedModel(layer, 'ia3-feedforward');
  const [kernel, bias] = base.getWeights() as [tf.Tensor4D, tf.Tensor1D];
  const l = getAdapter(model).tensors[`${base.layers[0]!.name}/ia3_l`]!;
  const x = random<tf.Rank.R4>([2, 4, 4, 2], 2);
  const expected = tf.add(tf.conv2d(tf.mul<tf.Tensor4D>(x, l), kernel, 1, 'valid'), bias);
  expect(predictions(model, [x])[0]).toBeAllClose(numbers(expected));
  expect(predictions(mergeLoRA(model), [x])[0]).toBeAllClose(numbers(expected));
});

test('scaled by k the factors are 1 + k·(l − 1)', () => {
  const {base, model} = adaptedModel(tf.layers.dense({units: 3, inputShape: [4]}), 'ia3');
  const half = scaleAdapter(getAdapter(model), 0.5);
  const [plain, whole, part] = [base, mergeLoRA(model), mergeLoRA(applyLoRA(base, half))].map(each =>
    each.getWeights().flatMap(numbers),
  );
  expect(part).toBeAllClose(plain!.map((value, i) => (value + whole![i]!) / 2));
  const none = applyLoRA(base, scaleAdapter(getAdapter(model), 0));
  const x = random([5, 4], 2);
  expect(predictions(none, [x])[0]).toBeAllClose(predictions(base, [x])[0]!);
});

test('it has no rank, and one number for each output', () => {
  const {model} = mlp();
  const adapted = applyLoRA(model, {method: 'ia3'});
  const outputs = model.layers.flatMap(layer =>
    layer
      .getWeights()
      .slice(0, 1)
      .map(({shape}) => shape.at(-1)),
  );
  expect(
    trainableVariables(adapted)
      .map(({shape}) => shape[0])
      .sort(),
  ).toEqual(outputs.sort());
  const plan = planLoRA(model, {method: 'ia3'});
  expect(plan.layers.filter(({role}) => role === 'adapted').every(({cappedFrom}) => cappedFrom === undefined)).toBe(
    true,
  );
});

test('layers with several products, and look-ups, are refused in one error that names them', () => {
  const model = tf.sequential({
    layers: [
      tf.layers.embedding({inputDim: 5, outputDim: 3, inputLength: 4, name: 'words'}),
      tf.layers.lstm({units: 3, name: 'memory'}),
      tf.layers.dense({units: 2, name: 'head'}),
    ],
  });
  expect(() => applyLoRA(model, {method: 'ia3'})).toThrow(
    /Layer "words": The layer looks rows up.*\nLayer "memory": The layer has several products/,
  );
  const mixed = applyLoRA(model, {rank: 2, overrides: [{targets: ['head'], method: 'ia3'}]});
  expect(Object.entries(getAdapter(mixed).config.layers).map(([path, {method}]) => [path, method])).toEqual([
    ['words', undefined],
    ['memory', undefined],
    ['head', 'ia3'],
  ]);
});
