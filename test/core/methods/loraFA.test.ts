import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  disposeModel,
  getAdapter,
  loadAdapter,
  mergeLoRA,
  removeLoRA,
  scaleAdapter,
  setAdapter,
  summarizeLoRA,
  toSafetensors,
  trainableVariables,
  withAdapter,
} from '../../../src/index';
import {numbers, withoutLeaks} from '../../helpers';
import {baseWeights, cnn, mlp, predictions, reloaded, stirFactors, train, ZOO} from '../../models';

const FA = {rank: 2, method: 'lora-fa'} as const;

/** The values of an adapter's tensors whose names end so. */
function valuesOf({tensors}: Adapter, end: string): number[][] {
  return Object.entries(tensors).flatMap(([name, tensor]) => (name.endsWith(end) ? [numbers(tensor)] : []));
}

function adapterOf(model: tf.LayersModel, method: 'lora' | 'lora-fa', seed: number): Adapter {
  const adapted = applyLoRA(model, {...FA, method});
  stirFactors(adapted, seed);
  const adapter = getAdapter(adapted);
  disposeModel(adapted);
  return adapter;
}

test.each(ZOO.filter(([name]) => !name.includes('Embedding')))(
  'in %s, B trains and A and the base stay as they were',
  async (_, make) => {
    const specimen = make();
    const adapted = applyLoRA(specimen.model, FA);
    expect(predictions(adapted, specimen.inputs)).toEqual(predictions(specimen.model, specimen.inputs));
    const before = getAdapter(adapted);
    const base = baseWeights(adapted);
    await train(adapted, specimen.inputs);
    const after = getAdapter(adapted);
    expect(valuesOf(after, 'lora_A')).toEqual(valuesOf(before, 'lora_A'));
    expect(valuesOf(after, 'lora_B')).not.toEqual(valuesOf(before, 'lora_B'));
    expect(baseWeights(adapted)).toEqual(base);
    const merged = mergeLoRA(adapted);
    predictions(merged, specimen.inputs).forEach((values, i) => {
      expect(values).toBeAllClose(predictions(adapted, specimen.inputs)[i]!);
    });
  },
);

test('the first step moves B as it does where A trains too', async () => {
  const specimen = mlp();
  const [fixed, both] = (['lora-fa', 'lora'] as const).map(method =>
    applyLoRA(specimen.model, {rank: 2, method, seed: 3}),
  );
  await train(fixed!, specimen.inputs, {epochs: 1});
  await train(both!, specimen.inputs, {epochs: 1});
  const [found, wanted] = [getAdapter(fixed!), getAdapter(both!)].map(adapter => valuesOf(adapter, 'lora_B'));
  found!.forEach((values, i) => {
    expect(values).toBeAllClose(wanted![i]!);
  });
});

test('an embedding trains its A, which starts at zero, and keeps its B', async () => {
  const model = tf.sequential({
    layers: [
      tf.layers.embedding({inputDim: 5, outputDim: 4, inputLength: 3}),
      tf.layers.flatten(),
      tf.layers.dense({units: 1}),
    ],
  });
  const adapted = applyLoRA(model, {...FA, targets: ['Embedding']});
  expect(trainableVariables(adapted).map(({shape}) => shape)).toEqual([[5, 2]]);
  adapted.compile({optimizer: tf.train.sgd(0.1), loss: 'meanSquaredError'});
  const before = getAdapter(adapted);
  await adapted.fit(tf.tensor2d([[0, 1, 4]]), tf.tensor2d([[1]]), {verbose: 0});
  const after = getAdapter(adapted);
  expect(valuesOf(after, 'lora_B')).toEqual(valuesOf(before, 'lora_B'));
  expect(valuesOf(after, 'lora_A')).not.toEqual(valuesOf(before, 'lora_A'));
});

test('it survives the file of a model and of an adapter', async () => {
  const {model, inputs} = cnn();
  const adapted = applyLoRA(model, FA);
  stirFactors(adapted);
  const again = await reloaded(adapted);
  expect(predictions(again, inputs)).toEqual(predictions(adapted, inputs));
  expect(trainableVariables(again)).toHaveLength(trainableVariables(adapted).length);
  const adapter = getAdapter(again);
  const read = await loadAdapter(await toSafetensors(adapter));
  expect(read.config).toEqual(adapter.config);
  expect(Object.values(read.config.layers).map(({method}) => method)).toContain('lora-fa');
  expect(predictions(applyLoRA(model, read), inputs)).toEqual(predictions(adapted, inputs));
});

test(
  'an adapter of another method predicts at once, and the model refuses to train until it is ' + 'compiled again',
  async () => {
    const specimen = mlp();
    const {model, inputs} = specimen;
    const adapter = adapterOf(model, 'lora-fa', 7);
    const adapted = applyLoRA(model, {rank: 3});
    await train(adapted, specimen.inputs);
    const own = getAdapter(adapted);
    const before = predictions(adapted, inputs);

    setAdapter(adapted, adapter);
    expect(predictions(adapted, inputs)).toEqual(predictions(applyLoRA(model, adapter), inputs));
    expect(trainableVariables(adapted)).toHaveLength(Object.keys(adapter.config.layers).length);
    const y = model.predict(inputs[0]!) as tf.Tensor;
    await expect(adapted.fit(inputs[0]!, y, {verbose: 0})).rejects.toThrow(
      /Layer ".*" has an update of the method "lora-fa", but the model was compiled for the method "lora"\. Call model\.compile/,
    );
    await train(adapted, specimen.inputs);

    setAdapter(adapted, own);
    expect(predictions(adapted, inputs)).toEqual(before);
    const again = await reloaded(adapted);
    expect(predictions(again, inputs)).toEqual(before);
  },
);

test('after a visit of another method the compiled model goes on training', async () => {
  const specimen = mlp();
  const {model, inputs} = specimen;
  const adapter = adapterOf(model, 'lora-fa', 7);
  const adapted = applyLoRA(model, {rank: 2});
  adapted.compile({optimizer: tf.train.sgd(0.1), loss: 'meanSquaredError'});
  withAdapter(adapted, adapter, () => predictions(adapted, inputs));
  const before = predictions(adapted, inputs);
  const y = tf.add(model.predict(inputs[0]!) as tf.Tensor, 1);
  await adapted.fit(inputs[0]!, y, {verbose: 0});
  expect(predictions(adapted, inputs)).not.toEqual(before);
});

test('nothing leaks', async () => {
  const {model, inputs} = mlp();
  const adapter = adapterOf(model, 'lora-fa', 7);
  await withoutLeaks(() => {
    const adapted = applyLoRA(model, {rank: 3});
    setAdapter(adapted, adapter);
    withAdapter(adapted, null, () => predictions(adapted, inputs));
    const other = adapterOf(model, 'lora', 9);
    setAdapter(adapted, other);
    setAdapter(adapted, adapter);
    const plain = removeLoRA(adapted);
    other.dispose();
    disposeModel(plain);
    disposeModel(adapted);
  });
});

test('a summary counts what trains', () => {
  const {model} = mlp();
  const summary = summarizeLoRA(applyLoRA(model, FA));
  const variables = trainableVariables(applyLoRA(model, FA));
  const size = variables.reduce((sum, variable) => sum + variable.size, 0);
  expect(summary.trainableParameters).toBe(size);
  expect(summary.layers.reduce((sum, row) => sum + row.trainableParameters, 0)).toBe(size);
});

test('an override gives some layers another method', () => {
  const {model} = mlp();
  const adapted = applyLoRA(model, {rank: 2, overrides: [{targets: ['head'], method: 'lora-fa'}]});
  const {layers} = getAdapter(adapted).config;
  expect(Object.entries(layers).filter(([, {method}]) => method === 'lora-fa')).toHaveLength(1);
  expect(layers.head).toMatchObject({method: 'lora-fa', rank: 2});
});

test('adapters are scaled and added up, and those of different methods are not', async () => {
  const {model, inputs} = mlp();
  const [one, other] = [adapterOf(model, 'lora-fa', 7), adapterOf(model, 'lora', 9)];
  const [twice, sum] = [
    scaleAdapter(one, 2),
    await combineAdapters([
      {adapter: one, weight: 1},
      {adapter: one, weight: 1},
    ]),
  ];
  const [scaled, added] = [twice, sum].map(adapter => predictions(applyLoRA(model, adapter), inputs)[0]!);
  expect(added).toBeAllClose(scaled!);
  const both = [one, other].map(adapter => ({adapter, weight: 1}));
  await expect(combineAdapters(both)).rejects.toThrow('head: method lora-fa in one adapter, lora in another');
});

test('a method that does not exist is refused, in options and in files', () => {
  const {model} = mlp();
  const known =
    'method must be one of "lora", "dora", "lora-fa", "ia3", "ia3-feedforward", "vera", "loha", "lokr", got "vega".';
  const method = 'vega' as 'vera';
  expect(() => applyLoRA(model, {method})).toThrow(known);
  expect(() => applyLoRA(model, {overrides: [{targets: ['head'], method}]})).toThrow(known);
  const adapter = adapterOf(model, 'lora-fa', 7);
  adapter.config.layers.head!.method = method;
  expect(() => applyLoRA(model, adapter)).toThrow(`The adapter's config of layer "head": ${known}`);
});
