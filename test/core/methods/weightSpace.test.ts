import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
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
import {divisors} from '../../../src/core/methods/lokr';
import {adaptLayer} from '../../../src/layers';
import {differentiate, expectGradients, numbers, random, withoutLeaks} from '../../helpers';
import {baseWeights, mlp, predictions, stir, stirUpdates, train} from '../../models';

/** A model with a Dense and a Conv2D, adapted with updates that are not nothing. */
function adaptedModel(config: object): {base: tf.LayersModel; model: tf.LayersModel; adapter: Adapter} {
  const base = tf.sequential({
    layers: [
      tf.layers.conv2d({filters: 6, kernelSize: [2, 3], name: 'conv', inputShape: [4, 4, 4]}),
      tf.layers.flatten(),
      tf.layers.dense({units: 10, name: 'dense'}),
    ],
  });
  stir(base);
  const model = applyLoRA(base, {alpha: 3, seed: 1, ...config});
  stirUpdates(model);
  return {base, model, adapter: getAdapter(model)};
}

function changeOf(base: tf.LayersModel, model: tf.LayersModel, name: string): number[] {
  const [before, after] = [base, mergeLoRA(model)].map(each => numbers(each.getLayer(name).getWeights()[0]!));
  return after!.map((value, i) => value - before![i]!);
}

function valueAt({shape, data}: {shape: number[]; data: number[]}, ...index: number[]): number {
  return data[index.reduce((place, i, axis) => place * shape[axis]! + i, 0)]!;
}

function named({tensors}: Adapter, name: string): {shape: number[]; data: number[]} {
  const tensor = tensors[name]!;
  return {shape: tensor.shape, data: numbers(tensor)};
}

test('LoHa adds the entrywise product of two low-rank products', () => {
  const {base, model, adapter} = adaptedModel({method: 'loha', rank: 2});
  for (const name of ['conv', 'dense']) {
    const [w1a, w1b, w2a, w2b] = ['w1_a', 'w1_b', 'w2_a', 'w2_b'].map(part => named(adapter, `${name}/hada_${part}`));
    const out = w1a!.shape[1]!;
    const expected = Array.from({length: (w1b!.data.length / 2) * out}, (_, i) => {
      const [row, column] = [Math.floor(i / out), i % out];
      const entry = (b: {data: number[]}, a: {data: number[]}) =>
        b.data[row * 2]! * a.data[column]! + b.data[row * 2 + 1]! * a.data[out + column]!;
      return 1.5 * entry(w1b!, w1a!) * entry(w2b!, w2a!);
    });
    expect(changeOf(base, model, name)).toBeAllClose(expected);
  }
});

test('LoKr adds a Kronecker product, whole or with a low-rank factor', () => {
  const {base, model, adapter} = adaptedModel({method: 'lokr', rank: 1});
  const [w1, a, b] = ['w1', 'w2_a', 'w2_b'].map(part => named(adapter, `conv/lokr_${part}`));
  // 4 channels in are 2·2, 6 out are 2·3.
  expect([w1!.shape, a!.shape, b!.shape]).toEqual([
    [2, 2],
    [1, 3],
    [2, 3, 2, 1],
  ]);
  const expected = Array.from({length: 2 * 3 * 4 * 6}, (_, i) => {
    const [o, c, w, h] = [i % 6, Math.floor(i / 6) % 4, Math.floor(i / 24) % 3, Math.floor(i / 72)];
    const small = valueAt(w1!, Math.floor(c / 2), Math.floor(o / 3));
    return 3 * small * valueAt(b!, h, w, c % 2, 0) * valueAt(a!, 0, o % 3);
  });
  expect(changeOf(base, model, 'conv')).toBeAllClose(expected);
  const large = adaptedModel({method: 'lokr', rank: 2});
  const whole = named(large.adapter, 'conv/lokr_w2');
  const other = named(large.adapter, 'conv/lokr_w1');
  expect(whole.shape).toEqual([2, 3, 2, 3]);
  const wanted = expected.map((_, i) => {
    const [o, c, w, h] = [i % 6, Math.floor(i / 6) % 4, Math.floor(i / 24) % 3, Math.floor(i / 72)];
    return 1.5 * valueAt(other, Math.floor(c / 2), Math.floor(o / 3)) * valueAt(whole, h, w, c % 2, o % 3);
  });
  expect(changeOf(large.base, large.model, 'conv')).toBeAllClose(wanted);
});

test.each([
  ['loha', 'hada_w1_a', [16, 40], 0.1, 'normal'],
  ['loha', 'hada_w1_b', [2, 3, 30, 16], 1, 'normal'],
  ['loha', 'hada_w2_b', [2, 3, 30, 16], 1, 'normal'],
  // Kaiming's bound, √(6 / fan-in), is √3 deviations.
  ['vera', 'vera_A', [2, 3, 30, 16], Math.sqrt(2 / 180), 'uniform'],
  ['vera', 'vera_B', [16, 40], Math.sqrt(2 / 16), 'uniform'],
] as const)('%s starts %s, %j, with the deviation %d, %s', (method, name, shape, deviation, distribution) => {
  const layer = tf.layers.conv2d({filters: 40, kernelSize: [2, 3], name: 'conv', inputShape: [2, 3, 30]});
  const base = tf.sequential({layers: [layer]});
  const started = (seed?: number) => getAdapter(applyLoRA(base, {method, rank: 16, seed}));
  const [one, again, other] = [started(1), started(1), started(2)].map(adapter => named(adapter, `conv/${name}`));
  expect(one!.shape).toEqual(shape);
  const mean = one!.data.reduce((sum, value) => sum + value, 0) / one!.data.length;
  const square = one!.data.reduce((sum, value) => sum + value ** 2, 0) / one!.data.length;
  expect(Math.abs(mean) / deviation).toBeLessThan(0.15);
  expect(Math.sqrt(square) / deviation).toBeGreaterThan(0.93);
  expect(Math.sqrt(square) / deviation).toBeLessThan(1.07);
  // Of so many normal numbers, some are beyond two deviations; no uniform one is.
  const largest = Math.max(...one!.data.map(Math.abs)) / deviation;
  expect(largest > 2).toBe(distribution === 'normal');
  expect(again).toEqual(one);
  expect(other).not.toEqual(one);
  // Factors that share a seed are drawn one by one.
  const others = Object.entries(started(1).tensors).filter(([key]) => key !== `conv/${name}`);
  others.forEach(([, tensor]) =>
    expect(numbers(tensor)[0]! / numbers(tensor)[1]!).not.toBeCloseTo(one!.data[0]! / one!.data[1]!),
  );
  const unseeded = [started(), started()].map(adapter => named(adapter, `conv/${name}`));
  expect(unseeded[0]).not.toEqual(unseeded[1]);
});

test("LoKr's second factor starts at random values, uniform up to one over the root of what it sums over", () => {
  const {layers} = tf;
  const base = tf.sequential({
    layers: [
      layers.conv2d({filters: 100, kernelSize: [2, 3], name: 'conv', inputShape: [2, 3, 100]}),
      layers.flatten(),
      layers.dense({units: 400, name: 'dense'}),
    ],
  });
  const started = (rank: number, seed: number) => getAdapter(applyLoRA(base, {method: 'lokr', rank, seed}));
  const [low, whole, again, other] = [started(3, 1), started(10, 1), started(3, 1), started(3, 2)];
  const expectUniform = (adapter: Adapter, name: string, shape: number[], bound: number) => {
    const tensor = named(adapter, name);
    expect(tensor.shape).toEqual(shape);
    expect(Math.max(...tensor.data.map(Math.abs))).toBeLessThanOrEqual(bound);
    expect(Math.max(...tensor.data)).toBeGreaterThan(0.8 * bound);
    expect(Math.min(...tensor.data)).toBeLessThan(-0.8 * bound);
  };
  expectUniform(low, 'conv/lokr_w2_a', [3, 10], 1 / Math.sqrt(3));
  expectUniform(low, 'conv/lokr_w2_b', [2, 3, 10, 3], 1 / Math.sqrt(2 * 3 * 10));
  expectUniform(low, 'dense/lokr_w2_b', [10, 3], 1 / Math.sqrt(10));
  expectUniform(whole, 'conv/lokr_w2', [2, 3, 10, 10], 1 / Math.sqrt(2 * 3 * 10));
  // The factors are drawn one by one, and a seed repeats them.
  const values = (adapter: Adapter, name: string) => named(adapter, name).data;
  const [a, b] = ['a', 'b'].map(part => values(low, `dense/lokr_w2_${part}`).slice(0, 8).map(Math.sign));
  expect(a).not.toEqual(b);
  for (const name of ['dense/lokr_w2_a', 'dense/lokr_w2_b']) {
    expect(values(again, name)).toEqual(values(low, name));
    expect(values(other, name)).not.toEqual(values(low, name));
  }
});

test.each(['loha', 'lokr', 'vera'])('%s is scaled by its alpha', method => {
  const {base, model, adapter} = adaptedModel({method, rank: 2});
  const half = applyLoRA(base, scaleAdapter(adapter, 0.5));
  expect(changeOf(base, half, 'dense')).toBeAllClose(changeOf(base, model, 'dense').map(value => value / 2));
});

test('VeRA trains one number for each of the rank and for each output, and all layers share their factors', () => {
  const {base, model, adapter} = adaptedModel({method: 'vera', rank: 3});
  expect(
    trainableVariables(model)
      .map(({shape}) => shape)
      .sort(),
  ).toEqual([[10], [3], [3], [6]].sort());
  const [narrow, wide] = ['conv', 'dense'].map(name => numbers(adapter.tensors[`${name}/vera_A`]!));
  const [short, long] = [narrow!, wide!].sort((one, other) => one.length - other.length);
  expect(long!.slice(0, short!.length)).toEqual(short);
  const rows = (name: string) => adapter.tensors[`${name}/vera_B`]!.arraySync() as number[][];
  rows('conv').forEach((row, i) => expect(rows('dense')[i]!.slice(0, 6)).toEqual(row));
  const [A, B, d, b] = ['vera_A', 'vera_B', 'vera_lambda_d', 'vera_lambda_b'].map(part =>
    named(adapter, `dense/${part}`),
  );
  const expected = Array.from({length: (A!.data.length / 3) * 10}, (_, i) => {
    const [row, column] = [Math.floor(i / 10), i % 10];
    const sum = [0, 1, 2].reduce((total, k) => total + valueAt(A!, row, k) * d!.data[k]! * valueAt(B!, k, column), 0);
    return sum * b!.data[column]!;
  });
  expect(changeOf(base, model, 'dense')).toBeAllClose(expected, {rtol: 1e-4});
});

test('a rank of VeRA may be more than a layer could use', () => {
  const {model} = mlp();
  const {layers} = getAdapter(applyLoRA(model, {method: 'vera', rank: 100, targets: ['Dense']})).config;
  expect(Object.values(layers).map(({rank}) => rank)).toEqual(Object.keys(layers).map(() => 100));
});

test('the factors of a number are as close as can be', () => {
  expect([1, 7, 12, 36, 50].map(divisors)).toEqual([
    [1, 1],
    [1, 7],
    [3, 4],
    [6, 6],
    [5, 10],
  ]);
});

const DORA = {rank: 2, alpha: 3, method: 'dora', seed: 1} as const;

/** A model of one layer, adapted, with an update that is not nothing. */
function doraModel(layer: tf.layers.Layer, config: object = {}): {base: tf.LayersModel; model: tf.LayersModel} {
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
  const {model} = doraModel(make());
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
  const {base} = doraModel(tf.layers.dense({units: 4, inputShape: [5]}));
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
    const {base, model} = doraModel(layer);
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
