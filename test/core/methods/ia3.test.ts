import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  getAdapter,
  loadAdapter,
  mergeLoRA,
  planLoRA,
  registerAdaptable,
  removeLoRA,
  scaleAdapter,
  setAdapter,
  toSafetensors,
  trainableVariables,
} from '../../../src';
import {LoRALayer} from '../../../src/core/layers/loraLayer';
import {Dropout} from '../../../src/core/ops/update';
import {Mix} from '../../customLayers';
import {kernelsOf, numbers, random, useBackend} from '../../helpers';
import {mlp, predictions, reloaded, stir, stirUpdates, train} from '../../models';

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

registerAdaptable('Mix', {weights: ['mix_Kernel']});

function oneLayer(dropout: number): {model: tf.LayersModel; layer: LoRALayer} {
  const base = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [4]})]});
  stir(base);
  const model = applyLoRA(base, {rank: 2, alpha: 3, dropout, seed: 7});
  stirUpdates(model);
  return {model, layer: model.layers[0] as LoRALayer};
}

test('a mask is 0 or 1 / (1 − rate), with the mean 1, and follows from its seed and its step', async () => {
  await useBackend('cpu');
  const dropout = new Dropout(0.3, 5);
  const [first, second] = [numbers(dropout.mask([200, 50])), numbers(dropout.mask([200, 50]))];
  expect(dropout.step).toBe(2);
  expect([...new Set(first)].sort()).toEqual([0, Math.fround(1 / 0.7)]);
  // The standard deviation of the mean of 10,000 is 0.0065.
  expect(Math.abs(first.reduce((sum, value) => sum + value, 0) / first.length - 1)).toBeLessThan(0.03);
  expect(second).not.toEqual(first);
  const again = new Dropout(0.3, 5);
  again.step = 1;
  expect(numbers(again.mask([200, 50]))).toEqual(second);
  expect(numbers(new Dropout(0.3, 6).mask([200, 50]))).not.toEqual(first);
});

type Options = {name: string; inputShape: number[]; activation: 'linear' | 'tanh'};

const LAYERS: [string, number[], (options: Options) => tf.layers.Layer][] = [
  ['Dense', [4], options => tf.layers.dense({units: 3, ...options})],
  ['Conv1D', [5, 3], options => tf.layers.conv1d({filters: 4, kernelSize: 2, ...options})],
  ['Conv2D', [4, 5, 3], options => tf.layers.conv2d({filters: 4, kernelSize: 2, strides: 2, ...options})],
  ['Conv3D', [3, 4, 3, 2], options => tf.layers.conv3d({filters: 3, kernelSize: 2, ...options})],
  ['DepthwiseConv2D', [4, 4, 3], options => tf.layers.depthwiseConv2d({kernelSize: 2, depthMultiplier: 2, ...options})],
];

test('in training it works on the input of the update alone', () => {
  const {model, layer} = oneLayer(0.5);
  const x = random([5, 4], 3);
  const mask = new Dropout(0.5, layer.dropout.seed).mask([5, 4]);
  const read = (name: string) => layer.tryGetParameter(name) as tf.Tensor2D;
  const branch = tf.mul(tf.matMul(tf.matMul(tf.mul(x, mask), read('lora_A')), read('lora_B')), 1.5);
  const expected = tf.add(tf.add(tf.matMul(x, read('kernel')), branch), read('bias'));
  layer.dropout.step = 0;
  expect(numbers(model.apply(x, {training: true}) as tf.Tensor)).toBeAllClose(numbers(expected));
  expect(layer.dropout.step).toBe(1);
});

test.each(LAYERS)('in training a %s computes `x ∗ W + x̃ ∗ ΔW + b` before its activation', (_, shape, make) => {
  const modelOf = (activation: 'linear' | 'tanh') => {
    const model = tf.sequential({layers: [make({name: 'one', inputShape: shape, activation})]});
    stir(model);
    return model;
  };
  for (const method of ['lora', 'dora', 'loha'] as const) {
    const model = applyLoRA(modelOf('tanh'), {rank: 1, alpha: 2, dropout: 0.5, seed: 7, method, targets: ['one']});
    stirUpdates(model);
    const [base, merged] = [modelOf('linear'), modelOf('linear')];
    merged.setWeights(mergeLoRA(model).getWeights());
    const x = random([2, ...shape] as [number, number], 3);
    const dropped = tf.mul(x, new Dropout(0.5, 7).mask(x.shape));
    const [whole, without, updated] = [base.predict(x), base.predict(dropped), merged.predict(dropped)] as tf.Tensor[];
    const expected = tf.tanh(tf.add(whole!, tf.sub(updated!, without!)));
    const layer = model.layers[0] as LoRALayer;
    layer.dropout.step = 0;
    layer.dropout.seed = 7;
    expect(numbers(model.apply(x, {training: true}) as tf.Tensor)).toBeAllClose(numbers(expected));
  }
});

test('the mean over many steps is what it computes without', () => {
  const {model} = oneLayer(0.4);
  const x = random([1, 4], 3);
  const rows = tf.tile(x, [4000, 1]);
  const mean = tf.mean(model.apply(rows, {training: true}) as tf.Tensor, 0);
  expect(numbers(mean)).toBeAllClose(predictions(model, [x])[0]!, {atol: 0.05});
});

test('a prediction drops nothing', () => {
  const {model} = oneLayer(0.9);
  const x = random([5, 4], 3);
  const [one, two] = [predictions(model, [x]), predictions(model, [x])];
  expect(two).toEqual(one);
  expect((model.layers[0] as LoRALayer).dropout.step).toBe(0);
});

test('a training with a seed has the same result each time, and goes on from its step', async () => {
  const {model, inputs} = mlp();
  const run = async () => {
    const adapted = applyLoRA(model, {rank: 2, dropout: 0.5, seed: 3});
    await train(adapted, inputs, {epochs: 2});
    return getAdapter(adapted);
  };
  const values = ({tensors}: {tensors: Readonly<Record<string, tf.Tensor>>}) => Object.values(tensors).map(numbers);
  const [one, two] = [await run(), await run()];
  expect(values(two)).toEqual(values(one));

  const y = random([inputs[0]!.shape[0], ...model.outputs[0]!.shape.slice(1)] as [number, number], 8);
  const fit = (adapted: tf.LayersModel, epochs: number) => {
    adapted.compile({optimizer: tf.train.sgd(0.1), loss: 'meanSquaredError'});
    return adapted.fit(inputs[0]!, y, {epochs, batchSize: 4, shuffle: false, verbose: 0});
  };
  const start = () => applyLoRA(model, {rank: 2, dropout: 0.5, seed: 3});
  const [whole, first, second] = [start(), start(), start()];
  await fit(whole, 2);
  await fit(first, 1);
  setAdapter(second, getAdapter(first));
  first.layers.forEach((layer, i) => {
    if (layer instanceof LoRALayer) {
      (second.layers[i] as LoRALayer).dropout.step = layer.dropout.step;
    }
  });
  await fit(second, 1);
  expect(values(getAdapter(second))).toEqual(values(getAdapter(whole)));
});

test('it costs nothing at 0', async () => {
  const [without, zero] = [{rank: 2}, {rank: 2, dropout: 0}].map(config => {
    const {model} = mlp();
    return applyLoRA(model, config);
  });
  const {inputs} = mlp();
  const step = (model: tf.LayersModel) => () =>
    tf.variableGrads(() => tf.mean(model.apply(inputs[0]!, {training: true}) as tf.Tensor)).value;
  expect(await kernelsOf(step(zero!))).toEqual(await kernelsOf(step(without!)));
});

test('it is part of the adapter, of its file, and of the file of the model', async () => {
  const {model} = mlp();
  const adapted = applyLoRA(model, {rank: 2, dropout: 0.25, overrides: [{targets: ['head'], dropout: 0}]});
  const adapter = await loadAdapter(await toSafetensors(getAdapter(adapted)));
  const rates = Object.entries(adapter.config.layers).map(([path, {dropout}]) => [path, dropout]);
  expect(rates.filter(([path]) => path !== 'head').every(([, rate]) => rate === 0.25)).toBe(true);
  expect(adapter.config.layers.head!.dropout).toBeUndefined();
  const ratesOf = (of: tf.LayersModel) =>
    of.layers.filter(layer => layer instanceof LoRALayer).map(layer => layer.dropout.rate);
  expect(ratesOf(await reloaded(adapted))).toEqual(ratesOf(adapted));
  const plain = applyLoRA(model, {rank: 2});
  setAdapter(plain, adapter);
  expect(ratesOf(plain)).toEqual(ratesOf(adapted));
});

test('a rate out of range, and layers that have no input of the update, are refused, all in one error', () => {
  const {model} = mlp();
  expect(() => applyLoRA(model, {dropout: 1})).toThrow('dropout must be a number from 0 to below 1, got 1.');
  expect(() => applyLoRA(model, {overrides: [{targets: ['head'], dropout: -1}]})).toThrow('got -1.');
  const custom = tf.sequential({
    layers: [new Mix({units: 4, name: 'one', inputShape: [3]}), new Mix({units: 4, name: 'two'})],
  });
  expect(() => applyLoRA(custom, {dropout: 0.1})).toThrow(
    /Layer "one": The layer runs its own call.*\nLayer "two": The layer runs its own call/,
  );
});
