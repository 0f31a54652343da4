import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, fitOnFeatures, getAdapter, LoRAError, splitAtFirstAdapter} from '../../src/index';
import {BACKENDS, useBackend, withoutLeaks} from '../helpers';

/** [conv, batch norm, conv] in a nested model, a skip connection around it, and a head. */
function residualModel(): tf.LayersModel {
  const kernelInitializer = tf.initializers.glorotUniform({seed: 3});
  const conv = (name: string, kernelSize = 3) =>
    tf.layers.conv2d({filters: 3, kernelSize, padding: 'same', activation: 'relu', kernelInitializer, name});
  const input = tf.input({shape: [4, 4, 2]});
  const innerInput = tf.input({shape: [4, 4, 2]});
  const hidden = tf.layers.batchNormalization({name: 'norm'}).apply(conv('early').apply(innerInput));
  const inner = tf.model({inputs: innerInput, outputs: conv('late').apply(hidden) as tf.SymbolicTensor, name: 'inner'});
  const sum = tf.layers
    .add({name: 'sum'})
    .apply([inner.apply(input) as tf.SymbolicTensor, conv('skip', 1).apply(input) as tf.SymbolicTensor]);
  const head = tf.layers.dense({units: 3, activation: 'softmax', kernelInitializer, name: 'head'});
  const output = head.apply(tf.layers.flatten({name: 'flat'}).apply(sum)) as tf.SymbolicTensor;
  return tf.model({inputs: input, outputs: output});
}

function data(): {xs: tf.Tensor; ys: tf.Tensor} {
  const classes = tf.tensor1d([0, 1, 2, 0, 1, 2, 0, 1], 'int32');
  return {xs: tf.randomNormal([8, 4, 4, 2], 0, 1, 'float32', 5), ys: tf.oneHot(classes, 3)};
}

function adapted(base: tf.LayersModel): tf.LayersModel {
  const model = applyLoRA(base, {rank: 2, targets: ['late', 'head'], seed: 1});
  model.compile({optimizer: tf.train.sgd(0.1), loss: 'categoricalCrossentropy', metrics: ['accuracy']});
  return model;
}

const fitArgs = {epochs: 3, batchSize: 4, shuffle: false, verbose: 0} as const;

async function factors(model: tf.LayersModel): Promise<number[]> {
  const adapter = getAdapter(model);
  const values = await Promise.all(Object.values(adapter.tensors).map(tensor => tensor.data()));
  adapter.dispose();
  return values.flatMap(array => [...array]);
}

describe.each(BACKENDS)('on %s', backend => {
  beforeAll(() => useBackend(backend));

  test('the pieces together compute what the model computes, and the cut lies inside nested models', () => {
    const model = adapted(residualModel());
    const {prefix, suffix} = splitAtFirstAdapter(model);
    const {xs} = data();
    const expected = model.predict(xs) as tf.Tensor;
    const actual = suffix.predict(prefix.predict(xs)) as tf.Tensor;
    expect(Array.from(actual.dataSync())).toEqual(Array.from(expected.dataSync()));
    expect(prefix.layers.map(({name}) => name)).toEqual(expect.arrayContaining(['early', 'norm', 'skip']));
    expect(suffix.layers.map(({name}) => name)).toEqual(expect.arrayContaining(['late', 'sum', 'head']));
    expect(suffix.layers.map(({name}) => name)).not.toContain('early');
  });

  test('training on kept features gives the factors that fit gives', async () => {
    const base = residualModel();
    const {xs, ys} = data();
    const whole = adapted(base);
    const expected = await whole.fit(xs, ys, fitArgs);
    const cached = adapted(base);
    const seen: string[] = [];
    const actual = await fitOnFeatures(cached, xs, ys, {
      ...fitArgs,
      onFeatures: (done, total) => seen.push(`${done}/${total ?? '?'}`),
    });
    expect(actual.history.loss).toBeAllClose(expected.history.loss as number[], {rtol: 1e-5});
    expect(await factors(cached)).toBeAllClose(await factors(whole), {atol: 1e-5});
    expect(seen).toEqual(['1/2', '2/2']);
  });

  test('training on kept features ends where the model is told to stop, and the next one does not', async () => {
    const base = residualModel();
    const {xs, ys} = data();
    const stopping = (model: tf.LayersModel) => ({
      onEpochEnd: () => {
        model.stopTraining = true;
      },
    });
    const [whole, cached] = [adapted(base), adapted(base)];
    const expected = await whole.fit(xs, ys, {...fitArgs, callbacks: stopping(whole)});
    const actual = await fitOnFeatures(cached, xs, ys, {...fitArgs, callbacks: stopping(cached)});
    expect(expected.epoch).toEqual([0]);
    expect(actual.epoch).toEqual([0]);
    expect((await fitOnFeatures(cached, xs, ys, fitArgs)).epoch).toEqual([0, 1, 2]);
  });

  test('a dataset trains like its tensors', async () => {
    const base = residualModel();
    const {xs, ys} = data();
    const fromTensors = adapted(base);
    await fitOnFeatures(fromTensors, xs, ys, fitArgs);
    const examples = tf.data.zip({xs: tf.data.array(tf.unstack(xs)), ys: tf.data.array(tf.unstack(ys))}).batch(4);
    const fromDataset = adapted(base);
    const dataset = examples as unknown as Parameters<typeof fitOnFeatures>[1];
    await fitOnFeatures(fromDataset, dataset, null, fitArgs);
    expect(await factors(fromDataset)).toBeAllClose(await factors(fromTensors), {atol: 1e-6});
  });

  test('splitting and training leave no tensors', async () => {
    const base = residualModel();
    const {xs, ys} = data();
    await withoutLeaks(async () => {
      const model = adapted(base);
      await fitOnFeatures(model, xs, ys, fitArgs);
      model.optimizer.dispose(); // it was passed in, so it is ours to free
      disposeModel(model);
    });
  });

  test('features beyond the limit are refused before they are used, and none are left', async () => {
    const base = residualModel();
    const {xs, ys} = data();
    await withoutLeaks(async () => {
      const model = adapted(base);
      await expect(fitOnFeatures(model, xs, ys, {...fitArgs, maxBytes: 1000})).rejects.toThrow(/maxBytes/);
      model.optimizer.dispose(); // it was passed in, so it is ours to free
      disposeModel(model);
    });
  });

  test('no examples are refused, as tensors and as a dataset', async () => {
    const base = residualModel();
    await withoutLeaks(async () => {
      const model = adapted(base);
      const [xs, ys] = [tf.zeros([0, 4, 4, 2]), tf.zeros([0, 3])];
      const none = tf.data.array([]) as unknown as Parameters<typeof fitOnFeatures>[1];
      await expect(fitOnFeatures(model, xs, ys, fitArgs)).rejects.toThrow('There is nothing to train on');
      await expect(fitOnFeatures(model, none, null, fitArgs)).rejects.toThrow('There is nothing to train on');
      model.optimizer.dispose();
      disposeModel(model);
      tf.dispose([xs, ys]);
    });
  });

  test('a model whose first layer is adapted has nothing to run once', () => {
    const model = applyLoRA(
      tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [2]}), tf.layers.dense({units: 2})]}),
    );
    expect(() => splitAtFirstAdapter(model)).toThrow(LoRAError);
  });
});
