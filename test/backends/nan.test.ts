import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, trainableVariables} from 'tfjs-lora';
import {capabilities} from '../../src/backends/shared/capabilities';
import {withoutOwnCode} from '../../src/backends/shared/tryOut';
import {random, useBackend} from '../helpers';

type Unary = (x: tf.Tensor4D) => tf.Tensor;

const ones = (...shape: number[]) => tf.ones<tf.Rank.R4>(shape as [number, number, number, number]);

const fused = (activation: 'linear' | 'relu' | 'relu6' | 'elu'): Record<string, Unary> => ({
  [`fused.conv2d, ${activation}`]: x =>
    tf.fused.conv2d({x, filter: random([3, 3, 4, 8], 1), strides: 1, pad: 'same', activation, bias: tf.ones([8])}),
  [`fused.conv2d of one pixel, ${activation}`]: x =>
    tf.fused.conv2d({x, filter: random([1, 1, 4, 8], 1), strides: 1, pad: 'same', activation}),
  [`fused.depthwiseConv2d, ${activation}`]: x =>
    tf.fused.depthwiseConv2d({x, filter: random([3, 3, 4, 1], 1), strides: 1, pad: 'same', activation}),
  [`fused.matMul, ${activation}`]: x =>
    tf.fused.matMul({a: tf.reshape(x, [-1, 4]), b: random([4, 8], 1), activation, bias: tf.ones([8])}),
  [`fused.matMul of several, ${activation}`]: x =>
    tf.fused.matMul({a: tf.reshape(x, [2, -1, 4]), b: random([2, 4, 8], 1), activation}),
});

const OPERATIONS: Record<string, Unary> = {
  relu: tf.relu,
  relu6: tf.relu6,
  clipByValue: x => tf.clipByValue(x, -1, 2),
  'maximum, first': x => tf.maximum(x, 0.5),
  'maximum, second': x => tf.maximum(tf.scalar(0.5), x),
  'maximum of two of a size': x => tf.maximum(ones(2, 6, 5, 4), x),
  'minimum, first': x => tf.minimum(x, 0.5),
  'minimum, second': x => tf.minimum(tf.scalar(0.5), x),
  avgPool: x => tf.avgPool(x, 2, 2, 'same'),
  'mean over pixels': x => tf.mean(x, [1, 2]),
  conv2d: x => tf.conv2d(x, random([3, 3, 4, 8], 1), 1, 'same'),
  depthwiseConv2d: x => tf.depthwiseConv2d(x, random([3, 3, 4, 1], 1), 1, 'same'),
  'relu of a depthwise convolution': x => tf.relu(tf.depthwiseConv2d(x, random([3, 3, 4, 1], 1), 1, 'same')),
  'relu of an avgPool': x => tf.relu(tf.avgPool(x, 3, 1, 'same')),
  ...fused('linear'),
  ...fused('relu'),
  ...fused('relu6'),
  ...fused('elu'),
};

const known = (value: number) => (Number.isNaN(value) ? 0 : value);

/** An image with two numbers that are NaN: one with a sign, as of ∞ − ∞, and one without. */
function image(): tf.Tensor4D {
  const values = random([2, 6, 5, 4], 7).dataSync<'float32'>().slice();
  new Uint32Array(values.buffer).set([0xffc00000], 5);
  new Uint32Array(values.buffer).set([0x7fc00000], 130);
  return tf.tensor4d(values, [2, 6, 5, 4]);
}

/** The result and the gradient, and both without a gradient being taken. */
function resultsOf(compute: Unary): Float32Array[] {
  const results = tf.tidy(() => {
    const {value, grad} = tf.valueAndGrad((x: tf.Tensor4D) => tf.sum<tf.Scalar>(compute(x)))(image());
    return [compute(image()), value, grad];
  });
  const numbers = results.map(tensor => tensor.dataSync<'float32'>());
  tf.dispose(results);
  return numbers;
}

describe.each(Object.entries(OPERATIONS))('%s', (_, compute) => {
  test.each(['our module', 'composed kernels'])('passes NaN on as on cpu, by %s', async by => {
    await useBackend('cpu');
    const expected = resultsOf(compute);
    await useBackend('wasm');
    const actual = by === 'our module' ? resultsOf(compute) : await withoutOwnCode(() => resultsOf(compute));
    expect(expected.some(numbers => numbers.includes(NaN))).toBe(true);
    for (const [i, numbers] of actual.entries()) {
      expect(Array.from(numbers, Number.isNaN)).toEqual(Array.from(expected[i]!, Number.isNaN));
      expect(numbers.map(known)).toBeAllClose(expected[i]!.map(known), {rtol: 1e-4, atol: 1e-4});
    }
  });
});

test.each(['our module', 'composed kernels'])('whole numbers are clipped as such, by %s', async by => {
  await useBackend('wasm');
  const clip = () => tf.tidy(() => tf.clipByValue(tf.tensor1d([-7, -1, 0, 3, 9], 'int32'), -2, 5).arraySync());
  expect(by === 'our module' ? clip() : await withoutOwnCode(clip)).toEqual([-2, -1, 0, 3, 5]);
});

describe.each([undefined, 6])('the layers of a model in training, with relu up to %s,', maxValue => {
  /** The gradients of an adapted model whose first layer overflows where an image is bright. */
  const gradients = async (backend: string) => {
    await useBackend(backend);
    const base = tf.sequential({
      layers: [
        tf.layers.conv2d({
          filters: 4,
          kernelSize: 1,
          inputShape: [4, 4, 4],
          weights: [tf.fill([1, 1, 4, 4], 2), tf.zeros([4])],
        }),
        tf.layers.conv2d({filters: 8, kernelSize: 3, weights: [random([3, 3, 4, 8], 2), tf.zeros([8])]}),
        tf.layers.batchNormalization({}),
        tf.layers.reLU(maxValue === undefined ? {} : {maxValue}),
        tf.layers.conv2d({filters: 4, kernelSize: 1, weights: [random([1, 1, 8, 4], 3), tf.zeros([4])]}),
      ],
    });
    const model = applyLoRA(base, {rank: 2, seed: 1});
    const results = tf.tidy(() => {
      const values = random([1, 4, 4, 4], 4).dataSync<'float32'>().slice();
      values.fill(3e38, 0, 4);
      const x = tf.tensor4d(values, [1, 4, 4, 4]);
      const loss = () => tf.sum<tf.Scalar>(model.apply(x, {training: true}) as tf.Tensor);
      const {value, grads} = tf.variableGrads(loss, trainableVariables(model));
      return [value, ...Object.values(grads)].map(tensor => tensor.dataSync<'float32'>().slice());
    });
    disposeModel(model);
    disposeModel(base);
    return results;
  };

  test('pass NaN on as on cpu', async () => {
    const expected = await gradients('cpu');
    const actual = await gradients('wasm');
    expect(expected.some(numbers => numbers.includes(NaN))).toBe(true);
    for (const [i, numbers] of actual.entries()) {
      expect(Array.from(numbers, Number.isNaN)).toEqual(Array.from(expected[i]!, Number.isNaN));
    }
  });
});

describe.each([
  ['ReluGrad', [NaN, 0, 2, 2, 2, 2]],
  ['Relu6Grad', [NaN, 0, 2, 0, 0, 0]],
])('%s', (name, expected) => {
  test.each(['our module', 'composed kernels'])(
    'is NaN where the output is, and right where it is infinite, by %s',
    async by => {
      await useBackend('wasm');
      const outputs = [NaN, 0, 3, 6, 7, Infinity];
      const compute = () =>
        tf.tidy(() =>
          tf
            .engine()
            .runKernel<tf.Tensor>(name, {dy: tf.fill([6], 2), y: tf.tensor1d(outputs)})
            .arraySync(),
        );
      expect(by === 'our module' ? compute() : await withoutOwnCode(compute)).toEqual(expected);
    },
  );
});

test.each([Infinity, 6])('a convolution with its relu up to %d in one keeps where the result is NaN', async cap => {
  await useBackend('wasm');
  const fused = capabilities().fusedConvolution!;

  const convolution = {
    ...{x: image(), filter: random<tf.Rank.R4>([3, 3, 4, 8], 1), bias: null},
    ...{depthwise: false, strides: [1, 1] as [number, number], padding: 'same' as const},
  };
  const [y, mask] = fused.rectified(convolution, {m: tf.fill([8], 3), t: tf.ones([8])}, cap);
  const numbers = Array.from(y.dataSync());
  const factors = numbers.map(value => (Number.isNaN(value) ? NaN : Number(value > 0 && value < cap)));
  expect(new Set(factors)).toEqual(new Set([NaN, 0, 1]));
  expect(Array.from(fused.masked!(tf.onesLike(y), mask).dataSync())).toEqual(factors);
});

test('a run that diverges has a loss of NaN, on wasm as on cpu', async () => {
  const losses = async (backend: string) => {
    await useBackend(backend);
    const model = tf.sequential({
      layers: [
        tf.layers.conv2d({
          filters: 8,
          kernelSize: 3,
          activation: 'relu',
          inputShape: [6, 6, 1],
          kernelInitializer: tf.initializers.randomNormal({seed: 1}),
        }),
        tf.layers.conv2d({
          filters: 4,
          kernelSize: 3,
          activation: 'relu',
          kernelInitializer: tf.initializers.randomNormal({seed: 2}),
        }),
        tf.layers.flatten(),
        tf.layers.dense({units: 3, activation: 'relu', kernelInitializer: tf.initializers.randomNormal({seed: 1})}),
      ],
    });
    model.compile({optimizer: tf.train.sgd(1e25), loss: 'meanSquaredError'});
    const [x, y] = [random([4, 6, 6, 1], 1), tf.oneHot(tf.tensor1d([0, 1, 2, 0], 'int32'), 3)];
    const {history} = await model.fit(x, y, {epochs: 4, shuffle: false, verbose: 0});
    tf.dispose([x, y]);
    disposeModel(model);
    return history.loss as number[];
  };
  const expected = await losses('cpu');
  expect(expected).toContainEqual(NaN);
  expect((await losses('wasm')).map(Number.isNaN)).toEqual(expected.map(Number.isNaN));
});
