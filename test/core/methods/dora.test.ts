import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  combineAdapters,
  getAdapter,
  mergeLoRA,
  scaleAdapter,
  setAdapter,
  summarizeLoRA,
  trainableVariables,
} from '../../../src';
import {LoRADense} from '../../../src/core/layers/loraDense';
import type {LoRALayer} from '../../../src/core/layers/loraLayer';
import {adaptLayer} from '../../../src/layers';
import {differentiate, expectGradients, numbers, random, withoutLeaks} from '../../helpers';
import {baseWeights, mlp, predictions, stir, stirUpdates, train} from '../../models';

const DORA = {rank: 2, alpha: 3, method: 'dora', seed: 1} as const;

/** A model of one layer, adapted, with an update that is not nothing. */
function adaptedModel(layer: tf.layers.Layer, config: object = {}): {base: tf.LayersModel; model: tf.LayersModel} {
  const base = tf.sequential({layers: [layer]});
  stir(base);
  const model = applyLoRA(base, {...DORA, ...config});
  stirUpdates(model);
  return {base, model};
}

/** The length of each column of a matrix, in double precision. */
function lengths(values: number[], columns: number): number[] {
  return Array.from({length: columns}, (_, column) =>
    Math.sqrt(values.filter((_, i) => i % columns === column).reduce((sum, value) => sum + value ** 2, 0)),
  );
}

test.each([
  [
    'a Dense',
    [5],
    () => tf.layers.dense({units: 4, activation: 'tanh', inputShape: [5]}),
    (x: tf.Tensor, w: tf.Tensor) => tf.matMul(x, w),
  ],
  [
    'a Conv2D',
    [5, 5, 2],
    () => tf.layers.conv2d({filters: 3, kernelSize: 2, activation: 'tanh', inputShape: [5, 5, 2]}),
    (x: tf.Tensor, w: tf.Tensor) => tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, 'valid'),
  ],
  [
    'a linear Conv2D of size 1', // of more rows than inputs, whose gain takes part in the kernel
    [9, 9, 2],
    () => tf.layers.conv2d({filters: 3, kernelSize: 1, inputShape: [9, 9, 2]}),
    (x: tf.Tensor, w: tf.Tensor) => tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, 'valid'),
  ],
  [
    'a Conv2DTranspose',
    [3, 3, 2],
    () => tf.layers.conv2dTranspose({filters: 3, kernelSize: 2, activation: 'tanh', inputShape: [3, 3, 2]}),
    (x: tf.Tensor, w: tf.Tensor) => tf.conv2dTranspose(x as tf.Tensor4D, w as tf.Tensor4D, [2, 4, 4, 3], 1, 'valid'),
  ],
])('%s computes m ⊙ V / ‖V‖, and its gradients leave the norm out', (name, inputShape, make, op) => {
  const {model} = adaptedModel(make());
  const layer = model.layers[0] as LoRALayer;
  const read = (parameter: string) => layer.tryGetParameter(parameter)!;
  const kernel = read('kernel');
  const transposed = name.includes('Transpose');
  const x = random([2, ...inputShape] as [number, number], 4);
  const plainV = (a: tf.Tensor, b: tf.Tensor) => {
    const product = tf.matMul(tf.reshape(a, [-1, 2]), b);
    return tf.add(kernel, tf.mul(tf.reshape(product, kernel.shape), 1.5));
  };
  const axes = kernel.shape.map((_, i) => i).filter(i => i !== kernel.rank - (transposed ? 2 : 1));
  // A constant: the gradient does not go through it.
  const norm = tf.tensor(numbers(tf.sqrt(tf.sum(tf.square(plainV(read('lora_A'), read('lora_B'))), axes))));
  const along = (g: tf.Tensor) => (transposed ? tf.reshape(g, [-1, 1]) : g);
  const inputs = {x, a: read('lora_A'), b: read('lora_B'), m: read('lora_magnitude_vector')};
  const wanted = differentiate(inputs, ({x: input, a, b, m}) => {
    const w = tf.mul(plainV(a!, b!), along(tf.div(m!, norm)));
    const y = tf.add(op(input!, w), read('bias'));
    return name.includes('linear') ? y : tf.tanh(y);
  });
  const variables = trainableVariables(model);
  const dy = tf.add(random(wanted[0]!.shape as [number, number], 6), 1);
  const f = (input: tf.Tensor) => tf.sum<tf.Scalar>(tf.mul(model.apply(input, {training: true}) as tf.Tensor, dy));
  const {grads} = tf.variableGrads(() => f(x), variables);
  const found = [model.predict(x) as tf.Tensor, tf.grad(f)(x), ...variables.map(variable => grads[variable.name]!)];
  expectGradients(found.map(numbers), wanted.map(numbers));
});

test('the magnitude starts as the length of the weights of each output', () => {
  const {base} = adaptedModel(tf.layers.dense({units: 4, inputShape: [5]}));
  const model = applyLoRA(base, DORA);
  const layer = model.layers[0] as LoRALayer;
  const kernel = numbers(base.layers[0]!.getWeights()[0]!);
  expect(numbers(layer.tryGetParameter('lora_magnitude_vector')!)).toBeAllClose(lengths(kernel, 4));
});

test('a layer made by itself starts from the weights that its base has', () => {
  const dense = tf.layers.dense({units: 4, inputShape: [5], biasInitializer: 'ones'});
  const base = tf.sequential({layers: [dense]});
  const layer = adaptLayer({...DORA, layer: dense});
  const x = random([3, 5], 2);
  expect(numbers(layer.apply(x) as tf.Tensor)).toEqual(numbers(base.predict(x) as tf.Tensor));
  const fresh = new LoRADense({...DORA, layer: tf.layers.dense({units: 4})});
  const y = fresh.apply(x) as tf.Tensor;
  const [kernel] = fresh.baseLayer.getWeights() as [tf.Tensor];
  expect(numbers(y)).toBeAllClose(numbers(tf.matMul(x, kernel)));
});

test('an output whose weights are all zero is computed as it was, and trains as with LoRA', async () => {
  const base = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [4]})]});
  const kernel = tf.mul(random([4, 3], 3), tf.tensor1d([1, 0, 1]));
  base.setWeights([kernel, tf.zeros([3])]);
  const model = applyLoRA(base, DORA);
  const x = random([6, 4], 5);
  expect(predictions(model, [x])).toEqual(predictions(base, [x]));
  await train(model, [x]);
  const [y] = predictions(model, [x]);
  expect(y!.every(Number.isFinite)).toBe(true);
  expect(Math.max(...y!.filter((_, i) => i % 3 === 1).map(Math.abs))).toBeGreaterThan(1e-3);
  expect(predictions(mergeLoRA(model), [x])[0]).toBeAllClose(y!);
});

test('without an adapter the model computes what its base computes, bit for bit', async () => {
  const {model, inputs} = mlp();
  const adapted = applyLoRA(model, DORA);
  const before = baseWeights(model);
  await train(adapted, inputs);
  expect(predictions(adapted, inputs)).not.toEqual(predictions(model, inputs));
  setAdapter(adapted, null);
  expect(predictions(adapted, inputs)).toEqual(predictions(model, inputs));
  expect(baseWeights(model)).toEqual(before);
});

test.each([0, 0.5, 1])('scaled by %f it changes the weights by that share', k => {
  for (const layer of [
    tf.layers.dense({units: 4, useBias: false, inputShape: [5]}),
    tf.layers.conv2dTranspose({filters: 3, kernelSize: 2, useBias: false, inputShape: [3, 3, 2]}),
  ]) {
    const {base, model} = adaptedModel(layer);
    const kernelOf = (of: tf.LayersModel) => numbers(of.getWeights()[0]!);
    const scaled = applyLoRA(base, scaleAdapter(getAdapter(model), k));
    const [plain, whole, part] = [base, mergeLoRA(model), mergeLoRA(scaled)].map(kernelOf);
    expect(part).toBeAllClose(plain!.map((value, i) => value + k * (whole![i]! - value)));
    const x = random([2, ...(model.inputs[0]!.shape.slice(1) as number[])] as [number, number], 3);
    expect(predictions(scaled, [x])[0]).toBeAllClose(predictions(mergeLoRA(scaled), [x])[0]!);
  }
});

test('an adapter of LoRA in its place predicts at once, and it leaks nothing', async () => {
  const {model, inputs} = mlp();
  const lora = applyLoRA(model, {rank: 3, seed: 2});
  stirUpdates(lora);
  const other = getAdapter(lora);
  const expected = predictions(lora, inputs);
  await withoutLeaks(() => {
    const adapted = applyLoRA(model, DORA);
    stirUpdates(adapted);
    const own = getAdapter(adapted);
    const before = predictions(adapted, inputs);
    setAdapter(adapted, other);
    expect(predictions(adapted, inputs)).toEqual(expected);
    setAdapter(adapted, own);
    expect(predictions(adapted, inputs)).toEqual(before);
    own.dispose();
    adapted.dispose();
  });
});

test('updates that depend on the weights are not added up', async () => {
  const {model} = mlp();
  for (const method of ['dora', 'ia3', 'loha', 'lokr'] as const) {
    const adapter = getAdapter(applyLoRA(model, {method, ...(method !== 'ia3' && {rank: 2})}));
    const parts = [adapter, adapter].map(each => ({adapter: each, weight: 0.5}));
    await expect(combineAdapters(parts)).rejects.toThrow(`method ${method}, whose updates cannot be added`);
  }
});

test('a summary names the method', () => {
  const {model} = mlp();
  const summary = summarizeLoRA(applyLoRA(model, DORA));
  expect(summary.layers.map(({method}) => method)).toEqual(summary.layers.map(() => 'dora'));
  expect(String(summary)).toContain('Dense, dora');
});
