import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  type Batches,
  disposeModel,
  fitOnFeatures,
  getAdapter,
  LoRAError,
  type CallProgress,
  seededBatches,
} from '../../../src/index';
import {splitAtFirstAdapter} from '../../../src/core/model/split';
import type {SeededDataset} from '../../../src/core/training/seededBatches';
import {withoutLeaks} from '../../helpers';

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

test('the pieces together compute what the model computes, and the cut can be inside nested models', () => {
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
    onProgress: ({done, total, what}) => seen.push(`${what} ${done}/${total}`),
  });
  expect(actual.history.loss).toBeAllClose(expected.history.loss as number[], {rtol: 1e-5});
  expect(await factors(cached)).toBeAllClose(await factors(whole), {atol: 1e-5});
  expect(seen).toEqual(['computing features 1/2', 'computing features 2/2']);
});

test('training on cached features ends when the model is stopped, and the next one does not', async () => {
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

test.each([
  ['', (batch: {xs: tf.Tensor; ys: tf.Tensor}) => batch],
  [' in lists', ({xs, ys}: {xs: tf.Tensor; ys: tf.Tensor}) => ({xs: [xs], ys: [ys]})],
])('a dataset of batches%s trains like its tensors', async (_, arrange) => {
  const base = residualModel();
  const {xs, ys} = data();
  const fromTensors = adapted(base);
  await fitOnFeatures(fromTensors, xs, ys, fitArgs);
  const examples = tf.data.zip({xs: tf.data.array(tf.unstack(xs)), ys: tf.data.array(tf.unstack(ys))}).batch(4);
  const fromDataset = adapted(base);
  const dataset = examples.map(batch => arrange(batch as {xs: tf.Tensor; ys: tf.Tensor})) as unknown as Batches;
  await fitOnFeatures(fromDataset, dataset, fitArgs);
  expect(await factors(fromDataset)).toBeAllClose(await factors(fromTensors), {atol: 1e-6});
});

test('validation data are evaluated as fit evaluates them, and pass the prefix once', async () => {
  const kernelInitializer = tf.initializers.glorotUniform({seed: 3});
  const dense = (name: string) => tf.layers.dense({units: 8, activation: 'tanh', kernelInitializer, name});
  // Of equal widths: what has not passed the prefix would fit the suffix too.
  const layers = [tf.layers.inputLayer({inputShape: [8]}), dense('early'), dense('head')];
  const base = tf.sequential({layers});
  const ready = () => {
    const model = applyLoRA(base, {rank: 2, targets: ['head'], seed: 1});
    model.compile({optimizer: tf.train.sgd(0.1), loss: 'meanSquaredError'});
    return model;
  };
  const [x, y, xHeldOut, yHeldOut] = [1, 2, 3, 4].map(seed => tf.randomNormal([6, 8], 0, 1, 'float32', seed));
  const validationData = [xHeldOut!, yHeldOut!] as [tf.Tensor, tf.Tensor];
  const [whole, fromTensors, fromDataset] = [ready(), ready(), ready()];
  const expected = await whole.fit(x!, y!, {...fitArgs, validationData});
  const seen: string[] = [];
  const onProgress = ({done, total}: CallProgress) => seen.push(`${done}/${total}`);
  const actual = await fitOnFeatures(fromTensors, x!, y!, {...fitArgs, validationData, onProgress});
  expect(actual.history.val_loss).toBeAllClose(expected.history.val_loss as number[], {rtol: 1e-5});
  expect(seen).toEqual(['1/4', '2/4', '3/4', '4/4']);
  const last = (fromTensors.evaluate(xHeldOut!, yHeldOut!) as tf.Scalar).dataSync();
  expect(actual.history.val_loss!.slice(-1)).toBeAllClose(last, {rtol: 1e-5});
  const dataset = (xs: tf.Tensor, ys: tf.Tensor) =>
    tf.data.zip({xs: tf.data.array(tf.unstack(xs)), ys: tf.data.array(tf.unstack(ys))}).batch(4) as unknown as Batches;
  const validated = await fitOnFeatures(fromDataset, dataset(x!, y!), {
    ...fitArgs,
    validationData: dataset(xHeldOut!, yHeldOut!),
  });
  expect(validated.history.val_loss).toBeAllClose(expected.history.val_loss as number[], {rtol: 1e-5});
});

test('losses, class weights and logs go by the names of outputs inside nested models', async () => {
  const input = tf.input({shape: [4]});
  const kernelInitializer = tf.initializers.glorotUniform({seed: 3});
  const layer = (name: string) => tf.layers.dense({units: 4, activation: 'softmax', kernelInitializer, name});
  const hidden = tf.input({shape: [4]});
  const ends = ['one', 'two'].map(name => layer(name).apply(layer(`before_${name}`).apply(hidden)));
  const inner = tf.model({inputs: hidden, outputs: ends as tf.SymbolicTensor[], name: 'inner'});
  const outputs = inner.apply(layer('early').apply(input)) as tf.SymbolicTensor[];
  const base = tf.model({inputs: input, outputs});
  const ready = () => {
    const model = applyLoRA(base, {rank: 2, targets: ['one'], seed: 1});
    const loss = Object.fromEntries(model.outputNames.map(name => [name, 'categoricalCrossentropy']));
    model.compile({optimizer: tf.train.sgd(0.1), loss});
    return model;
  };
  const [whole, cached] = [ready(), ready()];
  const x = tf.randomNormal([4, 4], 0, 1, 'float32', 5);
  const y = tf.oneHot(tf.tensor1d([0, 1, 2, 3], 'int32'), 4);
  const classWeight = whole.outputNames.map((_, i) => ({0: 1, 1: 2, 2: 3, 3: 4 + i}));
  const expected = await whole.fit(x, [y, y], {...fitArgs, classWeight});
  const actual = await fitOnFeatures(cached, x, [y, y], {...fitArgs, classWeight});
  expect(Object.keys(actual.history)).toEqual(Object.keys(expected.history));
  for (const [name, values] of Object.entries(expected.history)) {
    expect(actual.history[name]).toBeAllClose(values as number[], {rtol: 1e-5});
  }
});

test('what fit has an argument for and features have not is refused before anything runs', async () => {
  const base = residualModel();
  const {xs, ys} = data();
  await withoutLeaks(async () => {
    const model = adapted(base);
    const batches = seededBatches(xs, ys, {batchSize: 4, seed: 1});
    const onProgress = () => expect('nothing').toBe('run');
    const expectRefused = async (run: Promise<unknown>, message: RegExp) => {
      await expect(run).rejects.toThrow(message);
      await expect(run).rejects.toThrow(LoRAError);
    };
    const refused = (args: object, message: RegExp, y = ys) =>
      expectRefused(fitOnFeatures(model, xs, y, {...fitArgs, onProgress, ...args}), message);
    await refused({sampleWeight: ys}, /fitOnFeatures takes no sampleWeight\. Leave it out/);
    await refused({stepsPerEpoch: 1, validationSteps: 1}, /takes no stepsPerEpoch, validationSteps\./);
    await refused({validationBatches: 1, batchesPerEpoch: 1}, /takes no batchesPerEpoch, validationBatches\./);
    await refused({validationData: [xs, ys, ys]}, /got a list of 3; tfjs supports no sample weights/);
    await refused({validationData: [xs]}, /validationData must be \[x, y\]/);
    await refused({validationData: [xs, null]}, /validationData\[1\] must be a tensor/);
    await refused({validationData: xs}, /validationData must be \[x, y\], or a dataset/);
    await refused({batchSize: 0}, /batchSize must be a whole number/);
    await refused(
      {validationData: [batches, ys] as unknown},
      /validationData\[0\] is a dataset, .* Leave out validationData\[1\]/,
    );
    await refused({signal: {}}, /signal must be an AbortSignal/);
    const asBefore = (fitOnFeatures as (...args: unknown[]) => Promise<tf.History>)(model, batches, null, fitArgs);
    await expectRefused(asBefore, /call fitOnFeatures\(model, dataset, args\)/);
    const fewer = tf.zeros([7, 3]);
    await refused({}, /the same number of examples, got \[8, 4, 4, 2\], \[7, 3\]/, fewer);
    fewer.dispose();
    (batches as SeededDataset).startAt(0, 1); // as resume does in the middle of an epoch
    await expectRefused(fitOnFeatures(model, batches, fitArgs), /says that it has 2 batches, and gave 1/);
    model.optimizer.dispose();
    disposeModel(model);
  });
});

test('splitting and training leave no tensors', async () => {
  const base = residualModel();
  const {xs, ys} = data();
  await withoutLeaks(async () => {
    const model = adapted(base);
    await fitOnFeatures(model, xs, ys, {...fitArgs, validationData: [xs, ys]});
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
    const none = tf.data.array([]) as unknown as Batches;
    await expect(fitOnFeatures(model, xs, ys, fitArgs)).rejects.toThrow('There is nothing to train or to validate on');
    await expect(fitOnFeatures(model, none, fitArgs)).rejects.toThrow('There is nothing to train or to validate on');
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
