import * as tf from '@tensorflow/tfjs';
import {accuracy, applyLoRA, f1Score, LoRAError, trainableVariables} from 'tfjs-lora';
import {
  Attention,
  type AttentionArgs,
  crossEntropyFromLogits,
  FusedLayerNormalization,
  GatedActivation,
  Gelu,
  PositionEmbedding,
  RMSNormalization,
  SequencePooling,
  TiedDense,
  TypeEmbedding,
} from 'tfjs-lora/transformers';
import {withoutOwnCode} from '../../../src/backends/shared/tryOut';
import {PositionalConvolution} from '../../../src/extensions/transformers/layers/soundFrames';
import {random} from '../../helpers';
import {asOnCpu, type Case, read, relativeDifference, within} from './case';

/** A layer, and the inputs that it is tried with. */
export interface LayerTrial {
  kind: string;
  make: () => tf.layers.Layer;
  inputs: () => tf.Tensor[];
}

const sequences = (positions: number, width: number, seed = 1) => random([2, positions, width], seed);
/** Queries, and keys and values that may be narrower. */
const attended = (queries: number, keys: number, width: number, keyWidth = width) => [
  sequences(queries, width),
  ...[2, 3].map(seed => sequences(keys, keyWidth, seed)),
];
const mask = () => tf.tensor2d([1, 1, 0, 1, 1, 0, 0, 0, 0, 0], [2, 5]);
/** Of the second example nothing is seen. */
const evenMask = (dtype?: 'int32') => tf.tensor2d([1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0], [2, 6], dtype);
/** Rows that hold several examples. */
const examplesOfRows = () =>
  tf.tensor2d([...[1, 1, 1, 1, 1, 0, 1, 1, 2, 2, 2, 2], ...[1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3]], [2, 12]);
const packed = (positions: number, width: number, seen: tf.Tensor) => [sequences(positions, width), seen];

/** Which of the keys a query sees: the first none, the others one of two. */
const belowZero = () =>
  tf.tensor(
    Array.from({length: 48}, (_, i) => (i % 24 < 6 || i % 2 === 0 ? -1e5 : 0)),
    [1, 2, 4, 6],
  );

const trial = (kind: string, make: () => tf.layers.Layer, ...inputs: (() => tf.Tensor)[]): LayerTrial => ({
  kind,
  make,
  inputs: () => inputs.map(input => input()),
});
const attention = (kind: string, args: Partial<AttentionArgs>, inputs: () => tf.Tensor[]): LayerTrial => ({
  kind: `Attention${kind}`,
  make: () => new Attention({heads: 2, ...args}),
  inputs,
});
const GROUPED = {heads: 4, keyValueHeads: 2};
const LONGER = {frequencies: [1, 0.2], longer: {places: 3, frequencies: [0.5, 0.1]}};
const three = () => sequences(3, 7);
const other = () => sequences(3, 7, 2);
const wholeNumbers = () => tf.cast(tf.reshape(tf.range(-5, 7, 1, 'int32'), [1, 3, 4]), 'float32');

export const TRIALS: readonly LayerTrial[] = [
  attention('', {}, () => [...attended(3, 5, 6), mask()]),
  attention(' with a mask of whole numbers', {}, () => [...attended(4, 6, 6), evenMask('int32')]),
  attention(', causal, of shared keys and rotary positions', {...GROUPED, causal: true, rotary: {base: 100}}, () => [
    ...attended(5, 5, 16, 8),
    mask(),
  ]),
  attention(
    ', packed, with rotary positions of some of the numbers',
    {...GROUPED, causal: true, packed: true, rotary: {frequencies: [1, 0.1, 0.01], interleaved: true}},
    () => packed(5, 64, mask()),
  ),
  attention(
    ' of even lengths, causal, with a mask, shared keys and rotary positions',
    {...GROUPED, causal: true, rotary: {base: 100}},
    () => [...attended(4, 6, 24, 12), evenMask()],
  ),
  attention(
    ' of even lengths, packed, with a mask and shared keys',
    {...GROUPED, packed: true, rotary: {interleaved: true}},
    () => packed(6, 48, evenMask()),
  ),
  attention(
    ' of even lengths, packed, rotated by angles for the length of each example',
    {...GROUPED, packed: true, rotary: LONGER},
    () => packed(6, 48, evenMask()),
  ),
  attention(
    ' rotated by a base that grows with each example',
    {rotary: {base: 50, longer: {places: 2, factor: 3}}},
    () => [...attended(5, 5, 12), mask()],
  ),
  attention(' in a window, causal, of shared keys', {...GROUPED, causal: true, window: 3}, () =>
    attended(6, 8, 24, 12),
  ),
  attention(
    ' in a window to both sides, packed, with a mask and shared keys',
    {...GROUPED, packed: true, window: 2, rotary: {}},
    () => packed(6, 48, evenMask()),
  ),
  attention(' in a window, of more queries than a workgroup has invocations', {window: 20}, () =>
    attended(150, 150, 12),
  ),
  attention(
    ', packed, causal, of rows that hold several examples',
    {...GROUPED, packed: true, causal: true, rotary: {}},
    () => packed(6, 48, examplesOfRows()),
  ),
  attention(' with a soft cap, causal, of shared keys', {...GROUPED, causal: true, softCap: 0.5}, () =>
    attended(6, 8, 24, 12),
  ),
  attention(
    ' with a soft cap, packed, with a mask, in a window',
    {...GROUPED, packed: true, softCap: 2, window: 4, rotary: {}},
    () => packed(6, 48, evenMask()),
  ),
  attention(' with a soft cap and a bias, of scores that the cap bounds', {bias: true, softCap: 1, scale: 300}, () => [
    ...attended(6, 6, 8),
    random([1, 2, 6, 6], 4),
  ]),
  attention(' with a bias for distances, and a mask', {bias: true}, () => [
    ...attended(6, 6, 8),
    evenMask(),
    random([1, 2, 6, 6], 4),
  ]),
  attention(
    ' with a bias for every second example, causal, of shared keys',
    {bias: true, ...GROUPED, causal: true},
    () => [random([4, 4, 24], 1), random([4, 6, 12], 2), random([4, 6, 12], 3), random([2, 4, 4, 6], 4, 3)],
  ),
  attention(
    ' with a bias, in a window, of more queries than a workgroup has invocations',
    {bias: true, window: 20},
    () => [...attended(150, 150, 12), random([1, 2, 150, 150], 4)],
  ),
  attention(' with a bias far below zero for all that a query sees', {bias: true}, () => [
    ...[tf.zeros([2, 4, 8]), sequences(6, 8, 2), sequences(6, 8, 3)],
    belowZero(),
  ]),
  attention(' of more queries than a workgroup has invocations', {causal: true, rotary: {}}, () =>
    attended(70, 70, 12),
  ),
  attention(' of long heads', {}, () => attended(2, 3, 160)),
  attention(' of more keys than a workgroup holds', {}, () => attended(2, 1030, 4)),
  attention(' of one position, packed', {causal: true, packed: true}, () => [sequences(1, 18)]),
  trial('RMSNormalization', () => new RMSNormalization(), three),
  trial('RMSNormalization of whole numbers that were cast to floats', () => new RMSNormalization(), wholeNumbers),
  trial(
    'RMSNormalization of each head',
    () => new RMSNormalization({size: 4}),
    () => sequences(3, 12),
  ),
  trial('FusedLayerNormalization', () => new FusedLayerNormalization(), three, other),
  trial('RMSNormalization whose weight is added to one', () => new RMSNormalization({addsOne: true}), three),
  trial('FusedLayerNormalization without a bias', () => new FusedLayerNormalization({bias: false}), three, other),
  trial('Gelu', () => new Gelu(), three),
  trial('Gelu by tanh', () => new Gelu({approximate: true}), three),
  trial('GatedActivation', () => new GatedActivation(), three, other),
  trial(
    'GatedActivation of one input',
    () => new GatedActivation({packed: true, activation: 'gelu'}),
    () => sequences(3, 14),
  ),
  trial(
    'PositionalConvolution of groups of channels',
    () => new PositionalConvolution({size: 4, groups: 3}),
    () => sequences(5, 12),
  ),
  trial(
    'PositionalConvolution of all channels',
    () => new PositionalConvolution({size: 3, groups: 1}),
    () => sequences(5, 12),
  ),
  trial('PositionEmbedding', () => new PositionEmbedding({rows: 5}), three),
  trial('TypeEmbedding', () => new TypeEmbedding({rows: 2}), three),
  trial(
    'SequencePooling',
    () => new SequencePooling({mode: 'mean'}),
    () => sequences(5, 7),
    mask,
  ),
];

/** What a layer gives, and the gradients in its inputs but the mask, and in its weights. */
export async function outcome({make, inputs}: LayerTrial): Promise<number[][]> {
  const layer = make();
  const given = inputs();
  (layer.apply(given.length === 1 ? given[0]! : given) as tf.Tensor).dispose();
  layer.setWeights(layer.weights.map(({shape}, i) => random(shape as number[], 20 + i)));
  const sources = given.filter(({rank}) => rank > 2);
  const variables = layer.trainableWeights.map(weight => weight.read());
  const compute = (...xs: tf.Tensor[]) => {
    const all = given.map(x => xs[sources.indexOf(x)] ?? x);
    return layer.apply(all.length === 1 ? all[0]! : all) as tf.Tensor;
  };
  return read(
    tf.tidy(() => {
      const y = compute(...sources);
      const dy = random(y.shape, 9);
      const loss = (...xs: tf.Tensor[]) => tf.sum(tf.mul(compute(...xs), dy));
      return [y, ...tf.grads(loss)([...sources, ...variables])];
    }),
  );
}

/** The losses of a small decoder that is adapted and trained on the next token. A tied head has an update too. */
export async function losses({tied = false} = {}): Promise<number[]> {
  const ids = tf.input({shape: [null], dtype: 'int32'});
  const dense = (units: number, name: string) =>
    tf.layers.dense({units, name, kernelInitializer: tf.initializers.glorotNormal({seed: units})});
  const start = tf.initializers.randomNormal({seed: 3, stddev: 1});
  const embedding = tf.layers.embedding({inputDim: 11, outputDim: 8, name: 'words', embeddingsInitializer: start});
  const x = embedding.apply(ids) as tf.SymbolicTensor;
  const normal = new RMSNormalization({name: 'first'}).apply(x) as tf.SymbolicTensor;
  const packed = dense(24, 'attention').apply(normal) as tf.SymbolicTensor;
  const seen = new Attention({heads: 2, causal: true, packed: true}).apply(packed) as tf.SymbolicTensor;
  const sum = new FusedLayerNormalization({name: 'second'}).apply([x, seen]) as tf.SymbolicTensor;
  const active = new Gelu().apply(dense(16, 'wide').apply(sum)) as tf.SymbolicTensor;
  const scores = tied
    ? new TiedDense({name: 'head', table: {name: 'words'}}).apply(dense(8, 'narrow').apply(active))
    : dense(11, 'head').apply(active);
  const base = tf.model({inputs: ids, outputs: scores as tf.SymbolicTensor});
  const model = applyLoRA(base, {rank: 2, seed: 1, ...(!tied && {exclude: ['words']})});
  const optimizer = tf.train.sgd(0.1);
  const tokens = tf.tensor2d([1, 4, 2, 8, 5, 7, 3, 3, 9, 10], [2, 5], 'int32');
  const targets = tf.tensor2d([4, 2, 8, 5, -100, 3, 3, 9, 10, -100], [2, 5]);
  const found: number[] = [];
  for (let step = 0; step < 5; step++) {
    const loss = optimizer.minimize(
      () => crossEntropyFromLogits(targets, model.apply(tokens, {training: true}) as tf.Tensor),
      true,
      trainableVariables(model),
    );
    found.push((await loss!.data())[0]!);
  }
  return found;
}

/** Cross-entropies with each option, and their gradients. The targets are 1, 0 and 2. */
async function weightedLosses(): Promise<number[]> {
  const logits = random([4, 3], 2);
  const targets = tf.tensor1d([1, -100, 0, 2]);
  const weights = tf.tensor1d([1, 2, 0.5, 3]);
  const found: number[] = [];
  for (const options of [
    {labelSmoothing: 0.2, classWeights: [1, 2, 0.5]},
    {focalGamma: 2, weights},
  ]) {
    const {value, grad} = tf.valueAndGrad((x: tf.Tensor) => crossEntropyFromLogits(targets, x, options))(logits);
    found.push(...(await value.data()), ...(await grad.data()));
    tf.dispose([value, grad]);
  }
  tf.dispose([logits, targets, weights]);
  return found;
}

/**
 * Cross-entropies of three rows with the targets 0, 2 and none, and their gradients in the first two, with each of
 * three options.
 */
async function lossesOfRows(numbers: readonly number[]): Promise<number[]> {
  const [targets, logits] = [tf.tensor1d([0, 2, -100]), tf.tensor2d([...numbers], [3, 3])];
  const found: number[] = [];
  for (const options of [{}, {classWeights: [1, 2, 0.5]}, {focalGamma: 2}]) {
    const {value, grad} = tf.valueAndGrad((x: tf.Tensor) => crossEntropyFromLogits(targets, x, options))(logits);
    found.push((await value.data())[0]!, ...(await grad.data()).slice(0, 6));
    tf.dispose([value, grad]);
  }
  tf.dispose([targets, logits]);
  return found;
}

/** The same with a class of the first row masked by a number. */
const lossesOfMask = (mask: number) => lossesOfRows([1, mask, 2, 0.3, 0.2, 0.1, 1, 2, 3]);

/** The same with NaN in the row that does not count. */
const lossesOfNaN = () => lossesOfRows([1, 0.5, 2, 0.3, 0.2, 0.1, NaN, 2, 3]);

/** Cross-entropies of one class, and their gradients. */
async function lossesOfOne(): Promise<number[]> {
  const [one, ofOne] = [tf.tensor1d([0, 0]), tf.tensor2d([[5], [-3]])];
  const found: number[] = [];
  for (const options of [{}, {labelSmoothing: 0.1}]) {
    const {value, grad} = tf.valueAndGrad((x: tf.Tensor) => crossEntropyFromLogits(one, x, options))(ofOne);
    found.push((await value.data())[0]!, ...(await grad.data()));
    tf.dispose([value, grad]);
  }
  tf.dispose([one, ofOne]);
  return found;
}

/** What PyTorch computes in 64 bits. */
const OF_MASK = [
  [1.257602, -0.3655293, 0, 0.3655293, 0.1835827, 0.1661125, -0.3496952],
  [1.276155, -0.4873724, 0, 0.4873724, 0.1223885, 0.1107417, -0.2331301],
  [0.6448975, -0.3841174, 0, 0.3841174, 0.1825818, 0.1652069, -0.3477887],
].flat();
const OF_NAN = [
  [1.333156, -0.3843881, 0.07012219, 0.3142659, 0.1835827, 0.1661125, -0.3496952],
  [1.376893, -0.5125174, 0.09349626, 0.4190211, 0.1223885, 0.1107417, -0.2331301],
  [0.7266965, -0.4272963, 0.07794975, 0.3493465, 0.1825818, 0.1652069, -0.3477887],
].flat();

/** 0 if a target that is no class is refused, or makes the loss NaN and the gradient zero. */
async function ofForeign(target: number): Promise<number> {
  const logits = random([3, 3], 1);
  const targets = tf.tensor1d([-100, 0, target]);
  try {
    const {value, grad} = tf.valueAndGrad((x: tf.Tensor) => crossEntropyFromLogits(targets, x))(logits);
    const [loss, gradient] = [await value.data(), await grad.data()];
    tf.dispose([value, grad]);
    return Number.isNaN(loss[0]) && gradient.every(number => number === 0) ? 0 : 1;
  } catch (error) {
    return error instanceof LoRAError ? 0 : 1;
  } finally {
    tf.dispose([logits, targets]);
  }
}

/**
 * Metrics of four positions, of which the last does not count: the guesses are 0, 1 and 2, and the targets 0, 2 and 2.
 * Of F1 class 0 has 1, class 1 0, and class 2 with one found and one missed 2/3.
 */
async function metrics(): Promise<number[]> {
  const logits = tf.tensor2d([3, 1, 2, 0, 5, 1, 1, 2, 4, 9, 0, 0], [4, 3]);
  const targets = tf.tensor2d([0, 2, 2, -100], [4, 1]);
  const found: number[] = [];
  for (const metric of [accuracy(), accuracy({topK: 2}), f1Score(), f1Score({positive: 2})]) {
    const value = metric(targets, logits);
    found.push((await value.data())[0]!);
    value.dispose();
  }
  tf.dispose([logits, targets]);
  return found;
}

/** The deviation from what is expected, with fused programs or without. */
async function inBothWays(compute: () => Promise<number[]>, expected: readonly number[]): Promise<number> {
  const results = [await compute(), await withoutOwnCode(compute)];
  return Math.max(...results.map(result => relativeDifference([result], [expected])));
}

/** What transformers have to do on every backend. */
export const transformerCases: readonly Case[] = [
  ...TRIALS.map((layerTrial): Case => ({
    behaviour: 'transformer layers have the outputs and gradients of cpu',
    kind: layerTrial.kind,
    tolerance: 1e-4,
    halfTolerance: 5e-2,
    run: asOnCpu(() => outcome(layerTrial)),
  })),
  {
    behaviour: 'cross-entropies leave out classes of −∞',
    tolerance: 1e-5,
    // Chromium uploads −∞ to a texture of 16-bit floats as NaN.
    halfTolerance: null,
    run: () => inBothWays(() => lossesOfMask(-Infinity), OF_MASK),
  },
  {
    behaviour: 'cross-entropies leave out classes of −30,000',
    tolerance: 1e-5,
    halfTolerance: 3e-3,
    run: () => inBothWays(() => lossesOfMask(-30_000), OF_MASK),
  },
  {
    behaviour: 'cross-entropies leave out rows that do not count, and those of one class are 0',
    tolerance: 1e-5,
    halfTolerance: 3e-3,
    run: async () => {
      const ofOne = await inBothWays(lossesOfOne, [0, 0, 0, 0, 0, 0]);
      return Math.max(ofOne, await inBothWays(lossesOfNaN, OF_NAN));
    },
  },
  ...[3, 0.5, NaN, -1].map((target): Case => ({
    behaviour: 'an invalid class index is refused, or gives NaN and no gradient',
    kind: String(target),
    tolerance: 0,
    halfTolerance: 0,
    run: async () => (await ofForeign(target)) + (await withoutOwnCode(() => ofForeign(target))),
  })),
  {
    behaviour: 'metrics of class indices match values computed by hand',
    tolerance: 1e-5,
    halfTolerance: 1e-2,
    run: async () => relativeDifference([await metrics()], [[2 / 3, 1, 5 / 9, 2 / 3]]),
  },
  {
    behaviour: 'weighted losses of classes have the values and gradients of cpu',
    tolerance: 1e-4,
    halfTolerance: 5e-2,
    run: asOnCpu(async () => [await weightedLosses()]),
  },
  ...within(
    {tolerance: 1e-3, halfTolerance: 2e-3},
    {
      'fit of a decoder without fused programs has the same loss curve as on cpu': asOnCpu(
        async () => [await withoutOwnCode(losses)],
        async () => [await losses()],
      ),
      'fit of a decoder has the same loss curve as on cpu': asOnCpu(async () => [await losses()]),
      'fit of a decoder with a tied head has the same loss curve as on cpu': asOnCpu(async () => [
        await losses({tied: true}),
      ]),
    },
  ),
];
