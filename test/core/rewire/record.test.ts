import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, getAdapter, loadAdapter, LoRAError, mergeLoRA, removeLoRA, summarizeLoRA} from 'tfjs-lora';
import {LoRADense} from '../../../src/core/layers/loraDense';
import {disposeModel, trainableVariables} from '../../../src/core/rewire/dispose';
import {withoutLeaks} from '../../helpers';
import {baseWeights, MemoryHandler, mlp, nested, predictions, shared, train, ZOO} from '../../models';

/** An adapted model that was loaded from a file in which a layer's config was changed. */
async function damaged(change: (config: Record<string, unknown>) => void): Promise<tf.LayersModel> {
  const handler = new MemoryHandler();
  await applyLoRA(mlp().model, {rank: 2}).save(handler);
  const artifacts = handler.artifacts as unknown as {modelTopology: {config: {layers: {config: never}[]}}};
  change(artifacts.modelTopology.config.layers[0]!.config);
  return tf.loadLayersModel(tf.io.fromMemory(artifacts));
}

test.each([
  ['is cut off', {name: '{"structure": {"'}],
  ['is no record', {name: '[]'}],
  ['says nothing of its parts', {name: '{"structure": {"": 1}, "capped": {}}'}],
  ['has an invalid rank', {name: '{"structure": {}, "capped": {"hidden": "x"}}'}],
  ['has metadata that are none', {name: '{"structure": {"": {"trainable": true, "metadata": [1]}}, "capped": {}}'}],
  ['has an invalid head', {name: '{"structure": {}, "capped": {}, "head": {"at": 1}}'}],
  ['is no text', {name: 5}],
  ['is not there', 'x'],
])('a model whose record %s computes, and all that needs the record is refused', async (_, record) => {
  const model = await damaged(config => (config.record = record));
  expect(predictions(model, [tf.ones([2, 5])])[0]).toHaveLength(6);
  await withoutLeaks(async () => {
    for (const use of [getAdapter, removeLoRA, mergeLoRA, summarizeLoRA]) {
      expect(() => use(model)).toThrow(LoRAError);
    }
    await expect(loadAdapter({config: '{}', weights: new Uint8Array()}, {model})).rejects.toThrow(LoRAError);
  });
});

test('a record of layers whose names every object has counts those alone that it names', () => {
  const model = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [4], name: 'constructor'})]});
  const adapted = applyLoRA(model, {rank: 1});
  expect(summarizeLoRA(adapted).layers[0]!.cappedFrom).toBeUndefined();
  const plain = removeLoRA(adapted);
  expect(plain.trainable).toBe(true);
});

test.each([
  ['no layer', (config: Record<string, unknown>) => delete config.layer, 'must hold the layer that it wraps'],
  [
    'an initializer that never ends',
    (config: Record<string, unknown>) =>
      (config.initializer = {class_name: 'TruncatedNormal', config: {mean: 0, stddev: 'x'}}),
    'its stddev is "x"',
  ],
  [
    'a model for an initializer',
    (config: Record<string, unknown>) => (config.initializer = {class_name: 'Sequential', config: {layers: []}}),
    '"Sequential" is not a class of initializers',
  ],
])('a layer from a file with %s is refused', async (_, change, message) => {
  const error = await damaged(config => void change(config)).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(LoRAError);
  expect((error as Error).message).toContain(message);
});

test('an initializer that never ends is refused', async () => {
  const {model} = mlp();
  await withoutLeaks(() => {
    for (const stddev of [-1, -Infinity]) {
      const init = tf.initializers.truncatedNormal({mean: 0, stddev});
      expect(() => applyLoRA(model, {init})).toThrow(/its stddev is/);
    }
  });
});

describe('disposeModel', () => {
  test.each(ZOO)('frees %s, stock or adapted', async (_, make) => {
    await withoutLeaks(() => {
      const {model, inputs} = make();
      const adapted = applyLoRA(model, {rank: 2});
      disposeModel(adapted);
      disposeModel(model);
      tf.dispose(inputs);
    });
  });

  test('frees the optimizer that compile made, and leaves one that was passed in', async () => {
    const own = tf.train.adam();
    await withoutLeaks(async () => {
      const {model, inputs} = mlp();
      const adapted = applyLoRA(model, {rank: 2});
      await train(adapted, inputs);
      disposeModel(adapted);
      disposeModel(model);
      tf.dispose(inputs);
    });
    const {model, inputs} = mlp();
    const adapted = applyLoRA(model, {rank: 2});
    await train(adapted, inputs, {optimizer: own});
    disposeModel(adapted);
    const state = await own.getWeights();
    expect(state.length).toBeGreaterThan(1);
    state.forEach(({tensor}) => expect(tensor.isDisposed).toBe(false));
  });

  test('called a second time, does nothing', async () => {
    await withoutLeaks(() => {
      const {model, inputs} = nested();
      const adapted = applyLoRA(model, {rank: 2});
      [adapted, adapted, model, adapted, model].forEach(disposeModel);
      tf.dispose(inputs);
    });
  });

  test.each(ZOO)('frees what tfjs leaves of %s', async (_, make) => {
    await withoutLeaks(() => {
      const {model, inputs} = make();
      const adapted = applyLoRA(model, {rank: 2});
      for (const each of [adapted, model]) {
        each.dispose();
        disposeModel(each);
      }
      tf.dispose(inputs);
    });
  });

  test('frees a model of which tfjs disposed of a layer with another model', async () => {
    await withoutLeaks(() => {
      const body = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [2]})]});
      const output = tf.layers.dense({units: 1}).apply(body.outputs) as tf.SymbolicTensor;
      const whole = tf.model({inputs: body.inputs, outputs: output});
      whole.compile({optimizer: adam(), loss: 'meanSquaredError'});
      body.dispose();
      disposeModel(whole);
    });
  });

  test('frees a layer by itself', async () => {
    await withoutLeaks(() => {
      const layer = new LoRADense({layer: tf.layers.dense({units: 4}), rank: 2});
      layer.apply(tf.input({shape: [3]}));
      disposeModel(layer);
    });
  });

  test('leaves what others share alone', () => {
    const {model, inputs} = nested();
    const expected = predictions(model, inputs);
    const adapted = applyLoRA(model, {rank: 2});
    disposeModel(adapted);
    expect(predictions(model, inputs)).toEqual(expected);
  });
});

describe('trainableVariables', () => {
  test('lists each variable that trains, once', () => {
    const {model} = shared();
    const adapted = applyLoRA(model, {rank: 2, targets: ['tower'], trainInFull: ['head']});
    const names = trainableVariables(adapted).map(({name}) => name.replace(/_\d+$/, ''));
    expect(names).toEqual(['tower/lora_A', 'tower/lora_B', 'head/kernel', 'head/bias']);
    expect(trainableVariables(model)).toHaveLength(4);
  });

  test("keeps a loop of one's own from moving what is frozen in a stock model", () => {
    const {model, inputs} = mlp();
    model.layers[0]!.trainable = false;
    const before = baseWeights(model);
    const optimizer = tf.train.sgd(1);
    const loss = () => tf.mean<tf.Scalar>(model.apply(inputs) as tf.Tensor);
    optimizer.minimize(loss, false, trainableVariables(model));
    const after = baseWeights(model);
    expect(after['hidden/kernel']).toEqual(before['hidden/kernel']);
    expect(after['head/kernel']).not.toEqual(before['head/kernel']);
  });
});
