import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, fitOnFeatures, getAdapter, type CallProgress, replaceHead} from '../../../src/index';
import {newLayersEntry} from '../../../src/core/head/headPlace';
import {withoutLeaks} from '../../helpers';

const glorot = (seed: number) => tf.initializers.glorotUniform({seed});
const classes = () => tf.layers.dense({units: 3, activation: 'softmax', kernelInitializer: glorot(9), name: 'classes'});

/** early → late → the head of other classes. */
function base(): tf.LayersModel {
  const dense = (name: string, seed: number, units = 6) =>
    tf.layers.dense({units, activation: 'tanh', kernelInitializer: glorot(seed), name});
  const input = tf.layers.inputLayer({inputShape: [5]});
  return tf.sequential({layers: [input, dense('early', 1), dense('late', 2), dense('old', 3, 8)]});
}

/** With a new head, and an update in the layer before it. */
function adapted(): tf.LayersModel {
  const plain = base();
  const headed = replaceHead(plain, [classes()], {after: 'late'});
  const model = applyLoRA(headed, {rank: 2, targets: ['late'], seed: 1});
  [plain, headed].forEach(disposeModel);
  return model;
}

let xs: tf.Tensor;
let ys: tf.Tensor;
beforeAll(() => {
  xs = tf.randomNormal([8, 5], 0, 1, 'float32', 5);
  ys = tf.oneHot(tf.tensor1d([0, 1, 2, 0, 1, 2, 0, 1], 'int32'), 3);
});

const fitArgs = {epochs: 2, batchSize: 3, shuffle: false, verbose: 0} as const;
const headFirst = {epochs: 3, learningRate: 0.05};

/** Trains with a rate of 0 after the head, or another one. */
async function trained(model: tf.LayersModel, args: object, rate = 0): Promise<Record<string, number[]>> {
  const optimizer = tf.train.sgd(rate);
  model.compile({optimizer, loss: 'categoricalCrossentropy', metrics: ['accuracy']});
  await fitOnFeatures(model, xs, ys, {...fitArgs, ...args}).finally(() => optimizer.dispose());
  const adapter = getAdapter(model);
  const values: Record<string, number[]> = {};
  Object.entries(adapter.tensors).forEach(([name, tensor]) => (values[name] = [...tensor.dataSync()]));
  adapter.dispose();
  return values;
}

/** The weights of a head that plain tfjs trains on what the base computes. */
async function plainHead(examples: number): Promise<number[][]> {
  const whole = base();
  const body = tf.model({inputs: whole.inputs, outputs: whole.getLayer('late').output});
  const head = tf.sequential({layers: [tf.layers.inputLayer({inputShape: [6]}), classes()]});
  head.compile({optimizer: tf.train.adam(headFirst.learningRate), loss: 'categoricalCrossentropy'});
  const features = body.predict(tf.slice(xs, 0, examples)) as tf.Tensor;
  await head.fit(features, tf.slice(ys, 0, examples), {...fitArgs, epochs: headFirst.epochs});
  return head.getWeights().map(weight => [...weight.dataSync()]);
}

test('the head learns first what plain tfjs teaches it, and the update stays as it was', async () => {
  const [kernel, bias] = await plainHead(8);
  const model = adapted();
  const seen: string[] = [];
  const onProgress = ({done, total, what}: CallProgress) => seen.push(`${what} ${done}/${total}`);
  const values = await trained(model, {headFirst, onProgress});
  expect(values['classes/kernel']).toBeAllClose(kernel!, {atol: 1e-6});
  expect(values['classes/bias']).toBeAllClose(bias!, {atol: 1e-6});
  expect(values['late/lora_B']).toEqual(Array(12).fill(0));
  expect(seen.slice(-3)).toEqual([1, 2, 3].map(epoch => `training the head ${epoch}/3`));
});

test('examples that validate do not train the head', async () => {
  const [kernel] = await plainHead(6);
  const values = await trained(adapted(), {headFirst, validationSplit: 0.25});
  expect(values['classes/kernel']).toBeAllClose(kernel!, {atol: 1e-6});
});

test('after the head all that trains goes on from there, with the optimizer of the model', async () => {
  const atOnce = await trained(adapted(), {headFirst}, 0.5);
  const inTwo = adapted();
  await trained(inTwo, {headFirst});
  expect(await trained(inTwo, {}, 0.5)).toEqual(atOnce);
  expect(atOnce['late/lora_B']).not.toEqual(Array(12).fill(0));
});

test('where the head alone trains, it does so twice; a run that is resumed does not begin with it again', async () => {
  const plain = base();
  const model = applyLoRA(replaceHead(plain, [classes()], {after: 'late'}), {targets: 'head'});
  const [kernel] = await plainHead(8);
  const first = await trained(model, {headFirst});
  expect(first['classes/kernel']).toBeAllClose(kernel!, {atol: 1e-6});
  expect(await trained(model, {headFirst, initialEpoch: 1})).toEqual(first);
});

test('new layers that a loader names are a head', async () => {
  const model = base();
  model.setUserDefinedMetadata(newLayersEntry(['old']));
  const adaptedOne = applyLoRA(model, {rank: 2, targets: ['late'], seed: 1});
  const optimizer = tf.train.sgd(0);
  adaptedOne.compile({optimizer, loss: 'meanSquaredError'});
  const before = [...adaptedOne.getLayer('old').getWeights()[0]!.dataSync()];
  await fitOnFeatures(adaptedOne, xs, tf.zeros([8, 8]), {...fitArgs, headFirst: true});
  expect([...adaptedOne.getLayer('old').getWeights()[0]!.dataSync()]).not.toEqual(before);
});

test('with `enough`, the rest trains only if the head ends with a higher loss', async () => {
  const plain = base();
  const body = tf.model({inputs: plain.inputs, outputs: plain.getLayer('late').output});
  const head = tf.sequential({layers: [tf.layers.inputLayer({inputShape: [6]}), classes()]});
  head.compile({optimizer: tf.train.adam(headFirst.learningRate), loss: 'categoricalCrossentropy'});
  const alone = await head.fit(body.predict(xs), ys, {...fitArgs, epochs: headFirst.epochs});
  const loss = Number(alone.history.loss!.at(-1));
  for (const [enough, epochs] of [
    [loss + 1e-4, 3],
    [loss - 1e-4, 2],
  ] as const) {
    // prettier-ignore
    const model = adapted();
    model.compile({optimizer: tf.train.sgd(0.5), loss: 'categoricalCrossentropy'});
    const history = await fitOnFeatures(model, xs, ys, {...fitArgs, headFirst: {...headFirst, enough}});
    expect(history.head!.history.loss!.at(-1)).toBeCloseTo(loss, 5);
    expect(history.history.loss).toHaveLength(epochs);
    const {tensors} = getAdapter(model);
    expect(tensors['late/lora_B']!.dataSync().every(value => value === 0)).toBe(epochs === 3);
  }
});

test('settings and models that do not fit are refused, and an abort ends the head, without leaks', async () => {
  await withoutLeaks(async () => {
    const [model, plain] = [adapted(), base()];
    const expectRefused = (args: object, message: RegExp, of = model) =>
      expect(trained(of, args)).rejects.toThrow(message);
    await expectRefused({headFirst: {epochs: 0}}, /headFirst\.epochs must be a whole number/);
    await expectRefused({headFirst: {learningRate: -1}}, /headFirst\.learningRate must be a number above 0, got -1/);
    await expectRefused({headFirst: {learningRate: 0}}, /headFirst\.learningRate must be a number above 0, got 0/);
    await expectRefused({headFirst: {enough: -1}}, /headFirst\.enough must be a number, 0 or more, got -1/);
    await expectRefused({headFirst: {rate: 1}}, /There is no option "rate"\. The options are: epochs, learningRate/);
    await expectRefused({headFirst: 20}, /options must be an object/);
    const controller = new AbortController();
    const onProgress = ({what}: CallProgress) => what === 'training the head' && controller.abort();
    await expectRefused({headFirst, onProgress, signal: controller.signal}, /The call was aborted/);
    const headless = applyLoRA(plain, {rank: 2, targets: ['late']});
    await expectRefused({headFirst: true}, /needs a new head that trains, and the model has none\. Put one/, headless);
    [model, plain, headless].forEach(disposeModel);
  });
});
