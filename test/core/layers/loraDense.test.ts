import * as tf from '@tensorflow/tfjs';
import {LoRADense} from '../../../src/core/layers/loraDense';
import {ACTIVATIONS, expectGradients, kernelsOf, numbers, on, random} from '../../helpers';
import {mergedKernel, stir, stirFactors} from '../../models';

const A = [
  [1, 0],
  [0, 1],
  [1, 1],
];
const B = [
  [1, 2],
  [3, 4],
];

/** A Dense 3 → 2 whose own kernel is zero, so that the output is the low-rank branch alone. */
function branch(): LoRADense {
  const base = tf.layers.dense({units: 2, kernelInitializer: 'zeros', inputShape: [3]});
  const layer = new LoRADense({layer: base, rank: 2, alpha: 4});
  layer.apply(tf.input({shape: [3]}));
  tf.tidy(() => {
    layer.setParameter('lora_A', tf.tensor2d(A));
    layer.setParameter('lora_B', tf.tensor2d(B));
  });
  return layer;
}

interface Shape {
  fanIn: number;
  units: number;
  args?: object;
}

/** An adapted Dense with random weights and factors. */
function adapted({fanIn, units, args = {}}: Shape, rank = 3): LoRADense {
  const layer = new LoRADense({layer: tf.layers.dense({units, ...args}), rank, alpha: 2 * rank});
  layer.apply(tf.input({shape: [fanIn]}));
  stir(layer);
  stirFactors(layer);
  return layer;
}

/** A stock Dense with the kernel `W + s·A·B`, multiplied out in plain loops. */
function mergedByHand(layer: LoRADense, {fanIn, units, args = {}}: Shape): tf.layers.Layer {
  const bias = layer.tryGetParameter('bias');
  const weights = [tf.tensor2d(mergedKernel(layer), [fanIn, units]), ...(bias ? [bias] : [])];
  return tf.layers.dense({units, ...args, inputShape: [fanIn], weights});
}

test('of a new layer, B has a gradient and that of A is zero', () => {
  const layer = new LoRADense({layer: tf.layers.dense({units: 5}), rank: 2, seed: 1});
  layer.apply(tf.input({shape: [4]}));
  const x = random([3, 4], 1);
  const [a, b] = layer.trainableWeights.map(w => w.read() as tf.Variable);
  const {grads} = tf.variableGrads(() => tf.sum(layer.apply(x) as tf.Tensor), [a!, b!]);
  expect(numbers(grads[a!.name]!)).toEqual(new Array(8).fill(0));
  expect(numbers(grads[b!.name]!).every(value => Math.abs(value) > 1e-4)).toBe(true);
});

describe.each(ACTIVATIONS)('with the activation %s', activation => {
  test.each([
    ['bias', true],
    ['no bias', false],
  ])('and %s, a new layer computes what its base computes, bit for bit', (_, useBias) => {
    const base = tf.layers.dense({units: 5, activation, useBias, inputShape: [7]});
    const model = tf.sequential({layers: [base]});
    stir(model);
    const layer = new LoRADense({layer: base, rank: 3});
    for (const rows of [4, 20]) {
      const x = random([rows, 7], rows);
      const expected = numbers(model.predict(x) as tf.Tensor);
      expect(numbers(layer.apply(x) as tf.Tensor)).toEqual(expected);
      expect(numbers(layer.apply(x, {training: true}) as tf.Tensor)).toBeAllClose(expected);
    }
  });

  const shapes: Shape[] = [
    {fanIn: 4, units: 7, args: {activation}},
    {fanIn: 7, units: 4, args: {activation, useBias: false}},
  ];
  test.each(shapes)('merges exactly, $fanIn → $units', shape => {
    const layer = adapted(shape);
    const merged = layer.mergeToOriginalLayer();
    const byHand = mergedByHand(layer, shape);
    for (const rows of [2, 9]) {
      const x = random([rows, shape.fanIn], 8);
      const expected = numbers(byHand.apply(x) as tf.Tensor);
      expect(numbers(layer.apply(x) as tf.Tensor)).toBeAllClose(expected);
      expect(numbers(merged.apply(x) as tf.Tensor)).toBeAllClose(expected);
    }
    expect(merged.getClassName()).toBe('Dense');
    expect(merged.getConfig()).toEqual({...layer.baseLayer.getConfig(), trainable: true});
  });
});

test.each([
  {fanIn: 10, units: 5, rank: 3, frozen: 45, free: 100, total: 100},
  {fanIn: 64, units: 32, rank: 8, frozen: 768, free: 768 + 2080, total: 768 + 2080},
  {fanIn: 1024, units: 1024, rank: 8, frozen: 16_384, free: 1_065_984, total: 1_065_984},
])('$fanIn → $units at rank $rank trains $frozen numbers, $free with its base', async c => {
  for (const freezeBaseLayer of [true, false]) {
    const base = tf.layers.dense({units: c.units, kernelInitializer: 'zeros'});
    const layer = new LoRADense({layer: base, rank: c.rank, freezeBaseLayer});
    layer.build([null, c.fanIn]);
    const size = (weights: tf.LayerVariable[]) => weights.reduce((sum, weight) => sum + weight.read().size, 0);
    const expected = freezeBaseLayer ? c.frozen : c.free;
    expect(size(layer.trainableWeights)).toBe(expected);
    expect(layer.countParams()).toBe(c.total);
    const {trainableParameters, totalParameters} = await layer.getDiagnostics();
    expect([trainableParameters, totalParameters]).toEqual([String(expected), String(c.total)]);
  }
});

test.each([[[6, 5]], [[2, 3, 5]], [[2, 2, 3, 5]]])(
  'an input of shape %j gives what its rows give, and their gradients',
  async shape => {
    const rows = shape.slice(0, -1).reduce((product, size) => product * size);
    const compute = (flat: boolean) => () => {
      const layer = adapted({fanIn: 5, units: 7, args: {activation: 'tanh'}});
      const [x, dy] = [random([rows, 5], 1), random([rows, 7], 2)];
      const f = (input: tf.Tensor) => {
        const y = layer.apply(flat ? input : tf.reshape(input, shape)) as tf.Tensor;
        expect(y.shape).toEqual(flat ? [rows, 7] : [...shape.slice(0, -1), 7]);
        return tf.reshape(y, [rows, 7]);
      };
      const variables = layer.trainableWeights.map(weight => weight.read() as tf.Variable);
      const loss = () => tf.sum<tf.Scalar>(tf.mul(f(x), dy));
      const {grads} = tf.variableGrads(loss, variables);
      const all = [f(x), tf.grad(f)(x, dy), ...variables.map(({name}) => grads[name]!)];
      layer.dispose();
      return all;
    };
    expectGradients(await on('wasm', compute(false)), await on('wasm', compute(true)));
  },
);

test('an integer input is taken as numbers', () => {
  const y = branch().apply(tf.tensor2d([[1, 2, 3]], [1, 3], 'int32')) as tf.Tensor;
  expect(y.arraySync()).toEqual([[38, 56]]);
});

test('a mask passes through it as through its base', () => {
  const make = (wrap: (layer: tf.layers.Layer) => tf.layers.Layer) =>
    tf.sequential({
      layers: [
        tf.layers.masking({maskValue: 0, inputShape: [4, 3]}),
        wrap(tf.layers.dense({units: 5, name: 'dense'})),
        tf.layers.lstm({units: 2, name: 'lstm'}),
      ],
    });
  const stock = make(layer => layer);
  const model = make(layer => new LoRADense({layer, rank: 2}));
  stir(stock);
  const weights = Object.fromEntries(stock.weights.map(w => [w.originalName, w.read()]));
  model.weights.forEach(w => w.write(weights[w.originalName] ?? w.read()));
  const x = tf.mul(random([2, 4, 3], 1), tf.tensor3d([1, 1, 0, 0, 1, 0, 1, 0], [2, 4, 1]));
  const expected = numbers(stock.predict(x) as tf.Tensor);
  expect(numbers(model.predict(x) as tf.Tensor)).toEqual(expected);
  const unmasked = stock.layers.slice(1).reduce<tf.Tensor>((y, l) => l.apply(y) as tf.Tensor, x);
  expect(numbers(unmasked)).not.toEqual(expected);
});

test('a training step computes no gradient of the kernel and none of the data', async () => {
  const model = tf.sequential({
    layers: [
      new LoRADense({layer: tf.layers.dense({units: 11, inputShape: [13], name: 'one'}), rank: 2}),
      new LoRADense({layer: tf.layers.dense({units: 7, name: 'two'}), rank: 3}),
    ],
  });
  const x = random([5, 13], 1);
  const variables = model.trainableWeights.map(weight => weight.read() as tf.Variable);
  const kernels = await kernelsOf(() =>
    tf.tidy(() => {
      const loss = () => tf.mean<tf.Scalar>(model.apply(x, {training: true}) as tf.Tensor);
      return tf.variableGrads(loss, variables).grads;
    }),
  );
  const outputs = kernels.filter(({name}) => name === 'BatchMatMul').map(({output}) => output);
  expect(outputs).toContain('13×2');
  expect(outputs).toContain('3×7');
  for (const gradient of ['13×11', '11×7', '5×13']) {
    expect(outputs).not.toContain(gradient);
  }
});
