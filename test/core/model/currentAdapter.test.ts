import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  disposeModel,
  getAdapter,
  LoRAError,
  predictWith,
  setAdapter,
  withAdapter,
} from 'tfjs-lora';
import {combineAdapters, exportPEFT, type LoRAConfig, mergeLoRA, removeLoRA} from '../../../src/index';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {baseWeights, cnn, mlp, multi, predictions, reloaded, type Specimen, stirFactors, train} from '../../models';

/** A model with an adapter of its own, and another adapter that was taken from a model like it. */
function pair({model}: Specimen, config: LoRAConfig, other: LoRAConfig = config): [tf.LayersModel, Adapter] {
  const donor = applyLoRA(model, other);
  stirFactors(donor, 7);
  const adapter = getAdapter(donor);
  disposeModel(donor);
  const adapted = applyLoRA(model, config);
  stirFactors(adapted, 70);
  return [adapted, adapter];
}

test.each<[string, LoRAConfig, LoRAConfig]>([
  ['the same rank', {rank: 2}, {rank: 2, alpha: 4}],
  ['a higher rank', {rank: 1}, {rank: 3, alpha: 1}],
  ['a lower rank, rank-stabilised', {rank: 3}, {rank: 2, rankStabilized: true}],
  ['some of the layers', {rank: 2}, {rank: 2, targets: ['head']}],
])('an adapter of %s that is set gives what it gives when it is applied', (_, config, other) => {
  const specimen = mlp();
  const [adapted, adapter] = pair(specimen, config, other);
  setAdapter(adapted, adapter);
  const applied = applyLoRA(specimen.model, adapter);
  expect(predictions(adapted, specimen.inputs)).toEqual(predictions(applied, specimen.inputs));
});

test('without an adapter a model computes what its base computes, and with it again what it did', () => {
  const {model, inputs} = cnn();
  const adapted = applyLoRA(model, {rank: 2, trainInFull: ['head']});
  stirFactors(adapted);
  const before = predictions(adapted, inputs);
  const own = getAdapter(adapted);
  setAdapter(adapted, null);
  expect(predictions(adapted, inputs)).toEqual(predictions(model, inputs));
  setAdapter(adapted, own);
  expect(predictions(adapted, inputs)).toEqual(before);
});

test('layers that train in full come and go with the adapter, statistics included', async () => {
  const {model, inputs} = cnn();
  const adapted = applyLoRA(model, {rank: 2, targets: ['conv'], trainInFull: ['norm', 'head']});
  await train(adapted, inputs);
  const trained = baseWeights(adapted);
  const adapter = getAdapter(adapted);
  setAdapter(adapted, null);
  expect(baseWeights(adapted)).toEqual(baseWeights(model));
  setAdapter(adapted, adapter);
  expect(baseWeights(adapted)).toEqual(trained);
});

test('a saved model keeps the original values of what trains in full, and brings them back', async () => {
  for (const config of [{trainInFull: ['norm', 'head']}, {freezeBaseLayer: false}]) {
    const {model, inputs} = cnn();
    const adapted = applyLoRA(model, {rank: 2, targets: ['conv'], ...config});
    await train(adapted, inputs);
    const trained = predictions(adapted, inputs);
    const again = await reloaded(await reloaded(adapted));
    expect(predictions(again, inputs)).toEqual(trained);
    const plain = removeLoRA(again);
    expect(baseWeights(plain)).toEqual(baseWeights(model));
    const own = getAdapter(again);
    setAdapter(again, null);
    expect(baseWeights(again)).toEqual(baseWeights(model));
    expect(predictions(again, inputs)).toEqual(predictions(model, inputs));
    setAdapter(again, own);
    expect(predictions(again, inputs)).toEqual(trained);
  }
});

test('a compiled model goes on training with another rank, and only its factors move', async () => {
  const specimen = mlp();
  const [adapted, adapter] = pair(specimen, {rank: 2}, {rank: 3});
  adapted.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  const ys = tf.zeros([4, 3]);
  await adapted.fit(specimen.inputs[0]!, ys, {epochs: 1, verbose: 0});
  setAdapter(adapted, adapter);
  const history = await adapted.fit(specimen.inputs[0]!, ys, {epochs: 5, verbose: 0});
  const losses = history.history.loss as number[];
  expect(losses[4]!).toBeLessThan(losses[0]!);
  expect(baseWeights(adapted)).toEqual(baseWeights(specimen.model));
  const merged = mergeLoRA(adapted);
  expect(predictions(merged, specimen.inputs)[0]).toBeAllClose(predictions(adapted, specimen.inputs)[0]!);
  expect(predictions(await reloaded(adapted), specimen.inputs)).toEqual(predictions(adapted, specimen.inputs));
});

test('an adapter is not touched by what happens to the models that have it', async () => {
  const specimen = mlp();
  const [adapted, adapter] = pair(specimen, {rank: 2});
  const values = Object.values(adapter.tensors).map(tensor => Array.from(tensor.dataSync()));
  setAdapter(adapted, adapter);
  await train(adapted, specimen.inputs);
  disposeModel(adapted);
  expect(Object.values(adapter.tensors).map(tensor => Array.from(tensor.dataSync()))).toEqual(values);
});

test('setting and taking adapters copies and leaves nothing', async () => {
  const specimen = mlp();
  await withoutLeaks(() => {
    const [adapted, adapter] = pair(specimen, {rank: 2}, {rank: 3});
    const buffers = tf.memory().numDataBuffers;
    setAdapter(adapted, adapter);
    expect(tf.memory().numDataBuffers).toBe(buffers - 4); // its former factors, which nothing else has
    for (let i = 0; i < 20; i++) {
      const snapshot = getAdapter(adapted);
      setAdapter(adapted, i % 2 === 0 ? null : adapter);
      snapshot.dispose();
    }
    adapter.dispose();
    disposeModel(adapted);
  });
});

test('withAdapter puts the former adapter back after a value, a promise, an exception and a rejection', async () => {
  await useBackend('cpu');
  const specimen = mlp();
  const {inputs} = specimen;
  const [adapted, adapter] = pair(specimen, {rank: 2}, {rank: 3});
  const before = predictions(adapted, inputs);
  const base = predictions(specimen.model, inputs);
  await withoutLeaks(async () => {
    expect(withAdapter(adapted, null, () => predictions(adapted, inputs))).toEqual(base);
    expect(predictions(adapted, inputs)).toEqual(before);
    const other = await withAdapter(adapted, adapter, () => Promise.resolve().then(() => predictions(adapted, inputs)));
    expect(other).not.toEqual(before);
    expect(predictions(adapted, inputs)).toEqual(before);
    const fail = () => {
      throw new Error('mine');
    };
    expect(() => withAdapter(adapted, adapter, fail)).toThrow('mine');
    await expect(withAdapter(adapted, adapter, () => Promise.reject(new Error('later')))).rejects.toThrow('later');
    expect(predictions(adapted, inputs)).toEqual(before);
  });
});

test('a layer may have a name that every object has a property of', async () => {
  await useBackend('cpu');
  const names = ['constructor', 'valueOf', 'toString'];
  const model = tf.sequential({
    layers: names.map((name, i) => tf.layers.dense({units: 3, name, ...(i === 0 && {inputShape: [2]})})),
  });
  const adapted = applyLoRA(model, {rank: 2, targets: ['valueOf'], trainInFull: ['toString']});
  stirFactors(adapted);
  const adapter = getAdapter(adapted);
  const x = [tf.ones([1, 2])];
  const before = predictions(adapted, x);
  setAdapter(adapted, null);
  setAdapter(adapted, adapter);
  expect(predictions(adapted, x)).toEqual(before);
  const combined = await combineAdapters([{adapter, weight: 1}]);
  expect(predictions(applyLoRA(model, combined), x)).toEqual(before);
  expect((await exportPEFT(model, {adapter})).config).toMatchObject({
    target_modules: ['valueOf'],
    modules_to_save: ['toString'],
  });
});

test('withAdapter waits for a promise of any make', async () => {
  await useBackend('cpu');
  const specimen = mlp();
  const {inputs} = specimen;
  const [adapted, adapter] = pair(specimen, {rank: 2}, {rank: 3});
  const before = predictions(adapted, inputs);
  // Such as of another realm, a frame's, or of a library.
  const later: PromiseLike<number[][]> = {
    then: (...callbacks) =>
      Promise.resolve()
        .then(() => predictions(adapted, inputs))
        .then(...callbacks),
  };
  const other = withAdapter(adapted, adapter, () => predictions(adapted, inputs));
  expect(await withAdapter(adapted, adapter, () => later)).toEqual(other);
  expect(predictions(adapted, inputs)).toEqual(before);
});

test.each<[string, LoRAConfig, LoRAConfig, string]>([
  [
    'adapts a layer that the model does not',
    {targets: ['head']},
    {targets: ['hidden']},
    'hidden: adapted in the adapter, not in the model',
  ],
  [
    'trains a layer that the model does not',
    {targets: ['hidden']},
    {targets: ['hidden'], trainInFull: ['head']},
    'head: trains in full in the adapter, not in the model',
  ],
  [
    'brings a base that the model keeps',
    {},
    {freezeBaseLayer: false},
    'hidden: with weights of the base in the adapter, which the model keeps frozen',
  ],
])('an adapter that %s is refused, and nothing is changed', async (_, config, other, message) => {
  await useBackend('cpu');
  const specimen = mlp();
  const [adapted, adapter] = pair(specimen, {rank: 2, ...config} as LoRAConfig, {rank: 2, ...other} as LoRAConfig);
  const before = predictions(adapted, specimen.inputs);
  await withoutLeaks(() => {
    expect(() => setAdapter(adapted, adapter)).toThrow(LoRAError);
    expect(() => setAdapter(adapted, adapter)).toThrow(message);
    expect(() => withAdapter(adapted, adapter, () => 0)).toThrow(message);
  });
  expect(predictions(adapted, specimen.inputs)).toEqual(before);
});

/** Adapters of different ranks for a model. */
function adaptersFor(model: tf.LayersModel, ranks: number[]): Adapter[] {
  return ranks.map((rank, i) => {
    const donor = applyLoRA(model, {rank});
    stirFactors(donor, 10 * i);
    const adapter = getAdapter(donor);
    disposeModel(donor);
    return adapter;
  });
}

function rowsOf(tensor: tf.Tensor): number[][] {
  const values = numbers(tensor);
  const width = values.length / tensor.shape[0];
  return Array.from({length: tensor.shape[0]}, (_, i) => values.slice(i * width, (i + 1) * width));
}

test('each row is predicted under its own adapter, as by itself; the former adapter is back then', async () => {
  const {model, inputs} = mlp();
  const [one, other] = adaptersFor(model, [1, 3]) as [Adapter, Adapter];
  const adapted = applyLoRA(model, {rank: 2});
  stirFactors(adapted, 70);
  const before = predictions(adapted, inputs);
  const x = random<tf.Rank.R2>([7, 5], 3);
  const adapters = [other, null, one, other, one, null, other];
  await withoutLeaks(() => {
    const together = predictWith(adapted, x, adapters, {batchSize: 2}) as tf.Tensor;
    rowsOf(together).forEach((row, i) => {
      const alone = tf.tidy(() =>
        withAdapter(adapted, adapters[i]!, () => numbers(adapted.predict(tf.slice(x, i, 1)) as tf.Tensor)),
      );
      expect(row).toBeAllClose(alone);
    });
    together.dispose();
  });
  expect(predictions(adapted, inputs)).toEqual(before);
  expect(baseWeights(adapted)).toEqual(baseWeights(model));
});

test('several inputs and outputs go together', () => {
  const {model, inputs} = multi();
  const [one, other] = adaptersFor(model, [1, 2]) as [Adapter, Adapter];
  const adapted = applyLoRA(model, {rank: 2});
  const under = (adapter: Adapter) =>
    withAdapter(adapted, adapter, () => (adapted.predict(inputs) as tf.Tensor[]).map(rowsOf));
  const expected = [under(other), under(one)];
  const outputs = predictWith(adapted, inputs, [one, other, other, one]) as tf.Tensor[];
  expect(outputs).toHaveLength(2);
  outputs.forEach((output, i) => {
    rowsOf(output).forEach((row, j) => {
      expect(row).toBeAllClose(expected[j === 1 || j === 2 ? 0 : 1]![i]![j]!);
    });
  });
  const same = predictWith(adapted, inputs, [one, one, one, one]) as tf.Tensor[];
  expect(same.map(numbers)).toEqual(under(one).map(rows => rows.flat()));
});

test('what does not fit is refused, and nothing is changed', async () => {
  await useBackend('cpu');
  const {model, inputs} = mlp();
  const [one] = adaptersFor(model, [2]) as [Adapter];
  const adapted = applyLoRA(model, {rank: 2, targets: ['head']});
  stirFactors(adapted, 70);
  const before = predictions(adapted, inputs);
  const x = inputs[0]!;
  await withoutLeaks(() => {
    expect(() => predictWith(adapted, x, [null, null])).toThrow(LoRAError);
    expect(() => predictWith(adapted, x, [null, null])).toThrow('for each of the 4 rows, got 2.');
    expect(() => predictWith(adapted, x, [null, null, null, one])).toThrow('hidden: adapted in the adapter');
    expect(() => predictWith(adapted, x, [null, null, null, 'one' as unknown as null])).toThrow(
      'adapters[3]: Expected an adapter',
    );
    const own = getAdapter(adapted);
    const broken = {...own, config: {...own.config}};
    setAdapter(adapted, broken);
    // A wrong input makes `predict` itself fail, under the second adapter.
    const wrong = tf.ones([4, 6]);
    expect(() => predictWith(adapted, wrong, [null, own, null, own])).toThrow();
    tf.dispose(wrong);
    own.dispose();
  });
  expect(predictions(adapted, inputs)).toEqual(before);
  expect(() => predictWith(model, x, [null, null, null, null])).toThrow('The model has no LoRA layers.');
});

test('several inputs must have a row each for each adapter', async () => {
  await useBackend('cpu');
  const {model, inputs} = multi();
  const adapted = applyLoRA(model, {rank: 1});
  const own = getAdapter(adapted);
  const [first, second] = inputs as [tf.Tensor, tf.Tensor];
  const short = tf.slice(second, 0, 3);
  const long = tf.concat([second, second]);
  for (const adapters of [
    [own, null, own, null],
    [own, own, own, own],
  ]) {
    await withoutLeaks(() => {
      expect(() => predictWith(adapted, [first, short], adapters)).toThrow(LoRAError);
      expect(() => predictWith(adapted, [first, short], adapters)).toThrow('the same number of rows, got 4, 3.');
      expect(() => predictWith(adapted, [first, long], adapters)).toThrow('the same number of rows, got 4, 8.');
    });
  }
  const list = [[1, 2, 3]] as unknown as tf.Tensor;
  expect(() => predictWith(adapted, list, [own])).toThrow(LoRAError);
  expect(() => predictWith(adapted, list, [own])).toThrow('or a list of tensors for several inputs, got an array');
});
