import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {LoRAEmbedding} from '../../../src/core/layers/loraEmbedding';
import type {LoRALayer} from '../../../src/core/layers/loraLayer';
import {applyLoRA} from '../../../src/core/model/apply';
import {mergeLoRA} from '../../../src/core/model/restore';
import {expectGradients, kernelsOf, numbers, on, random, withoutLeaks} from '../../helpers';
import {baseWeights, mergedKernel, predictions, type Specimen, stir, stirFactors, train} from '../../models';
import {testInAModel} from './inAModel';

interface Case {
  vocabulary: number;
  dim: number;
  /** Shape of a batch of row numbers. */
  batch: number[];
  dtype: 'int32' | 'float32';
  maskZero: boolean;
}

/** Fewer rows than looked up, so that some come more than once. */
const EXAMPLE: Case = {vocabulary: 5, dim: 3, batch: [2, 4], dtype: 'int32', maskZero: false};

/** More rows than are looked up. */
const LARGE: Case = {...EXAMPLE, vocabulary: 40, dim: 7};

const cases = fc.record({
  vocabulary: fc.integer({min: 1, max: 12}),
  dim: fc.integer({min: 1, max: 5}),
  batch: fc.array(fc.integer({min: 1, max: 4}), {minLength: 1, maxLength: 3}),
  dtype: fc.constantFrom('int32' as const, 'float32' as const),
  maskZero: fc.boolean(),
});

function rankOf({vocabulary, dim}: Case): number {
  return Math.min(2, vocabulary, dim);
}

function base({vocabulary, dim, batch, maskZero}: Case, args: object = {}): tf.layers.Layer {
  const own = {inputDim: vocabulary, outputDim: dim, maskZero, name: 'embed'};
  return tf.layers.embedding({...own, inputShape: batch.slice(1), ...args});
}

/** An adapted Embedding with random weights and factors. */
function adapted(c: Case): LoRAEmbedding {
  const layer = new LoRAEmbedding({layer: base(c), rank: rankOf(c), alpha: 2 * rankOf(c)});
  layer.apply(tf.input({shape: c.batch.slice(1)}));
  stir(layer);
  stirFactors(layer);
  return layer;
}

/** The stock layer with `E + s·A·B` for its table, in plain loops. */
function mergedByHand(layer: LoRALayer, c: Case): tf.layers.Layer {
  return base(c, {weights: [tf.tensor2d(mergedKernel(layer), [c.vocabulary, c.dim])]});
}

/** Row numbers, all of them in range. */
function rows({vocabulary, batch, dtype}: Case): tf.Tensor {
  const size = tf.util.sizeFromShape(batch);
  const values = Array.from({length: size}, (_, i) => (i * i + (i >> 1)) % vocabulary);
  return tf.tensor(values, batch, dtype);
}

/** A small model with two such layers. */
function classifier(): Specimen {
  const {layers} = tf;
  const words = tf.input({shape: [6], name: 'words'});
  const tags = tf.input({shape: [6], name: 'tags'});
  const embedded = [
    layers.embedding({inputDim: 30, outputDim: 4, name: 'word'}).apply(words),
    layers.embedding({inputDim: 5, outputDim: 4, name: 'tag', inputLength: 6}).apply(tags),
  ] as tf.SymbolicTensor[];
  const both = layers.add({name: 'both'}).apply(embedded);
  const read = layers.flatten({name: 'flat'}).apply(both);
  const output = layers.dense({units: 2, name: 'head'}).apply(read) as tf.SymbolicTensor;
  const model = tf.model({inputs: [words, tags], outputs: output});
  stir(model);
  const numbered = (size: number) => tf.tidy(() => rows({...EXAMPLE, vocabulary: size, batch: [4, 6]}));
  return {model, inputs: [numbered(30), numbered(5)]};
}

/** Words, some of them padding, as a text classifier reads them. */
function masked(): Specimen {
  const model = tf.sequential({
    layers: [
      tf.layers.embedding({inputDim: 9, outputDim: 4, maskZero: true, inputLength: 5, name: 'embed'}),
      tf.layers.gru({units: 3, name: 'gru'}),
      tf.layers.dense({units: 2, name: 'head'}),
    ],
  });
  stir(model);
  const inputs = [
    tf.tensor2d([
      [1, 2, 3, 0, 0],
      [8, 5, 5, 5, 2],
    ]),
  ];
  return {model, inputs};
}

test('computes what a stock layer with the merged table computes, and merges to it, whatever its shape', () =>
  fc.assert(
    fc.asyncProperty(cases, async c => {
      const compute = (f: (layer: LoRALayer) => tf.layers.Layer) => () => [f(adapted(c)).apply(rows(c)) as tf.Tensor];
      const [expected] = await on(
        'cpu',
        compute(layer => mergedByHand(layer, c)),
      );
      const itself = compute(layer => layer);
      const merged = compute(layer => layer.mergeToOriginalLayer());
      expect((await on('wasm', itself))[0]).toBeAllClose(expected!);
      expect((await on('wasm', merged))[0]).toBeAllClose(expected!);
    }),
    {numRuns: 40},
  ));

test('a new layer computes what its base computes, bit for bit, and masks what it masks, whatever its shape', () => {
  fc.assert(
    fc.property(cases, c => {
      tf.tidy(() => {
        const stock = base(c);
        stock.apply(tf.input({shape: c.batch.slice(1)}));
        stir(stock);
        const layer = new LoRAEmbedding({layer: stock, rank: rankOf(c)});
        const x = rows(c);
        const [y, expected] = [layer, stock].map(one => one.apply(x) as tf.Tensor);
        expect(y!.shape).toEqual(expected!.shape);
        expect(numbers(y!)).toEqual(numbers(expected!));
        expect(layer.supportsMasking).toBe(stock.supportsMasking);
        const [mask, expectedMask] = [layer, stock].map(one => one.computeMask(x) as tf.Tensor | null);
        expect(mask && numbers(mask)).toEqual(expectedMask && numbers(expectedMask));
      });
    }),
    {numRuns: 40},
  );
});

test('merges exactly, and the merged layer has the config of the original', () => {
  for (const c of [EXAMPLE, LARGE]) {
    const layer = adapted(c);
    const merged = layer.mergeToOriginalLayer();
    const expected = numbers(mergedByHand(layer, c).apply(rows(c)) as tf.Tensor);
    expect(numbers(layer.apply(rows(c)) as tf.Tensor)).toBeAllClose(expected);
    expect(numbers(merged.apply(rows(c)) as tf.Tensor)).toBeAllClose(expected);
    expect(merged.getConfig()).toEqual({...layer.baseLayer.getConfig(), trainable: true});
  }
});

test('the factors are [vocabulary, rank], zero at first, and [rank, dim], random', () => {
  const layer = new LoRAEmbedding({layer: base(LARGE), rank: 2, seed: 3});
  layer.apply(tf.input({shape: [4]}));
  const {A, B, weight} = layer.loraLayer;
  expect([A.shape, B.shape, weight]).toEqual([[40, 2], [2, 7], 'embeddings']);
  expect(Math.max(...numbers(A).map(Math.abs))).toBe(0);
  expect(numbers(B).every(value => value !== 0)).toBe(true);
  expect(numbers(layer.loraLayer.delta())).toEqual(new Array(40 * 7).fill(0));
});

test('B starts from N(0, 1)', () => {
  const layer = new LoRAEmbedding({layer: base({...EXAMPLE, vocabulary: 80, dim: 64}), rank: 64, seed: 3});
  layer.apply(tf.input({shape: [4]}));
  const {mean, variance} = tf.moments(layer.loraLayer.B);
  expect(Math.abs(numbers(mean)[0]!)).toBeLessThan(5 / 64); // 5 standard errors
  expect(Math.abs(numbers(variance)[0]! - 1)).toBeLessThan((5 * Math.SQRT2) / 64);
});

test.each([
  ['of which some rows are looked up more than once', EXAMPLE],
  ['of which few rows are looked up', LARGE],
  ['with a wide update', {...LARGE, dim: 3}],
  ['whose row numbers are floats', {...LARGE, dtype: 'float32' as const}],
])('gradients of a table %s are those of a product with one-hot rows', async (_, c) => {
  const weightsOf = (layer: LoRALayer) => ['embeddings', 'lora_A', 'lora_B'].map(name => layer.tryGetParameter(name)!);
  const weighted = (y: tf.Tensor) => tf.sum<tf.Scalar>(tf.mul(tf.tanh(y), random([8, c.dim], 8)));
  const expected = await on('cpu', () => {
    const layer = adapted(c);
    const hot = tf.cast(tf.oneHot(tf.cast(tf.reshape(rows(c), [8]), 'int32'), c.vocabulary), 'float32');
    const f = (table: tf.Tensor, a: tf.Tensor, b: tf.Tensor) =>
      weighted(tf.matMul(hot, tf.add(table, tf.mul(tf.matMul(a, b), layer.scaling))));
    return tf.grads(f)(weightsOf(layer).map(value => tf.clone(value)));
  });
  const actual = await on('wasm', () => {
    const layer = adapted(c);
    const variables = weightsOf(layer) as tf.Variable[];
    variables.forEach(variable => (variable.trainable = true));
    const {grads} = tf.variableGrads(() => weighted(tf.reshape(layer.apply(rows(c)) as tf.Tensor, [8, c.dim])));
    return variables.map(({name}) => grads[name]!);
  });
  expectGradients(actual, expected);
});

test('a frozen table takes no part in a training step but for its look-up', async () => {
  const {model, inputs} = masked();
  const lora = applyLoRA(model, {targets: ['head'], rank: 1});
  lora.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  const kernels = await kernelsOf(() => {
    const loss = () => tf.mean<tf.Scalar>(tf.square(lora.apply(inputs[0]!, {training: true}) as tf.Tensor));
    return Object.values(tf.variableGrads(loss).grads);
  });
  const names = kernels.map(({name}) => name);
  expect(names).toContain('GatherV2');
  expect(names).not.toContain('UnsortedSegmentSum');
  expect(names).not.toContain('ScatterNd');
});

test('rows that no batch looks up stay as they were', async () => {
  const {model, inputs} = masked();
  const lora = applyLoRA(model, {targets: ['embed'], rank: 2, seed: 1});
  await train(lora, inputs, {epochs: 3, optimizer: 'sgd'});
  const {loraLayer} = lora.getLayer('embed') as LoRAEmbedding;
  const moved = numbers(tf.max(tf.abs(loraLayer.delta()), 1)).map(change => change > 0);
  // Padding is 0, and masked.
  expect(moved).toEqual([false, true, true, true, false, true, false, false, true]);
});

test('trains its table too if that is not frozen, and merges what it has become', async () => {
  const {model, inputs} = masked();
  const lora = applyLoRA(model, {targets: ['embed'], rank: 2, seed: 1, freezeBaseLayer: false});
  const before = baseWeights(lora);
  await train(lora, inputs);
  const after = baseWeights(lora);
  const changed = Object.keys(before).filter(name => String(before[name]) !== String(after[name]));
  expect(changed).toEqual(['embed/embeddings']);
  expect(predictions(mergeLoRA(lora), inputs)[0]).toBeAllClose(predictions(lora, inputs)[0]!);
});

test('the regularization of its table counts where that trains, and only there', () => {
  const regularized = () => base(EXAMPLE, {embeddingsRegularizer: tf.regularizers.l2({l2: 0.5})});
  const lossesOf = (freezeBaseLayer: boolean) => {
    const layer = new LoRAEmbedding({layer: regularized(), rank: 2, freezeBaseLayer});
    layer.apply(tf.input({shape: [4]}));
    stir(layer);
    const [table] = ['embeddings'].map(name => numbers(layer.tryGetParameter(name)!));
    const expected = 0.5 * table!.reduce((sum, value) => sum + value * value, 0);
    return {losses: layer.losses.map(loss => numbers(loss() as tf.Tensor)[0]!), expected};
  };
  expect(lossesOf(true).losses).toEqual([]);
  const {losses, expected} = lossesOf(false);
  expect(losses).toBeAllClose([expected]);
});

test('a step leaks no tensors, with a mask behind it', async () => {
  const {model, inputs} = masked();
  const lora = applyLoRA(model, {targets: ['embed', 'head'], rank: 2});
  await train(lora, inputs, {epochs: 1, optimizer: 'sgd'});
  await withoutLeaks(async () => {
    const y = tf.zeros([2, 2]);
    await lora.fit(inputs[0]!, y, {epochs: 2, verbose: 0});
    y.dispose();
  });
});

testInAModel('LoRAEmbedding', classifier);

test.each([
  [undefined, [2, 4], [2, 4, 3]],
  [4, [2, 4], [2, 4, 3]],
  [
    [4, 5],
    [2, 4, 5],
    [2, 4, 5, 3],
  ],
])('with inputLength %j an input %j comes out as %j', (inputLength, shape, expected) => {
  const layer = new LoRAEmbedding({layer: base(EXAMPLE, {inputLength, inputShape: undefined}), rank: 2});
  expect(layer.computeOutputShape(shape)).toEqual(expected);
  expect((layer.apply(tf.zeros(shape, 'int32')) as tf.Tensor).shape).toEqual(expected);
});

test('takes inputs of more axes than it was made for without a warning, as the stock layer does', () => {
  const warn = jest.spyOn(console, 'warn').mockImplementation();
  const words = tf.input({shape: [2, 3]});
  const output = base(EXAMPLE, {inputShape: undefined}).apply(words) as tf.SymbolicTensor;
  const model = tf.model({inputs: words, outputs: output});
  for (const config of [{}, {targets: 'all' as const}]) {
    expect(applyLoRA(model, {rank: 2, ...config}).outputShape).toEqual([null, 2, 3, 3]);
  }
  expect(warn).not.toHaveBeenCalled();
});

test('of 10,000 words in 64 dimensions, rank 4 trains 40,256 numbers instead of 640,000', async () => {
  const table = {inputDim: 10_000, outputDim: 64, embeddingsInitializer: 'zeros' as const};
  const layer = new LoRAEmbedding({layer: tf.layers.embedding(table), rank: 4});
  layer.build([null, 7]);
  const {trainableParameters, totalParameters} = await layer.getDiagnostics();
  expect([trainableParameters, totalParameters]).toEqual(['40256', String(40_256 + 640_000)]);
});

test('comes back from its config as it was', () => {
  const layer = new LoRAEmbedding({layer: base({...EXAMPLE, maskZero: true}), rank: 3, alpha: 5, seed: 9});
  const config = JSON.parse(JSON.stringify(layer.getConfig())) as tf.serialization.ConfigDict;
  const copy = LoRAEmbedding.fromConfig<LoRAEmbedding>(LoRAEmbedding, config);
  expect(copy.getConfig()).toEqual(layer.getConfig());
  expect(copy.baseLayer.getConfig()).toEqual(layer.baseLayer.getConfig());
  [layer, copy].forEach(one => one.apply(tf.input({shape: [4]})));
  expect(numbers(copy.loraLayer.B)).toEqual(numbers(layer.loraLayer.B));
});

test('refuses another class, and a rank that would add nothing', () => {
  expect(() => new LoRAEmbedding({layer: tf.layers.dense({units: 2, name: 'other'})})).toThrow(
    'Layer "other" is a Dense; LoRAEmbedding adapts layers of class Embedding.',
  );
  const layer = new LoRAEmbedding({layer: base(EXAMPLE), rank: 4});
  expect(() => layer.build([null, 4])).toThrow(/Layer "embed" has a kernel .*above 3 .*got 4/);
});
