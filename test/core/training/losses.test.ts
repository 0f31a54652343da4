// has the loss of pairs too
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  balancedClassWeights,
  type ClassLossOptions,
  compileModel,
  fitOnFeatures,
  focalLoss,
  LoRAError,
  seededBatches,
  withSampleWeights,
} from 'tfjs-lora';
import {crossEntropyFromLogits} from 'tfjs-lora/transformers';
import {numbers, withoutLeaks} from '../../helpers';

interface Values {
  shape: number[];
  values: number[];
}

const FILE = readFileSync(join(__dirname, '../../fixtures/weightedLosses.json'), 'utf8');
const {
  classWeights,
  weights: CLASS_LOSS_WEIGHTS,
  ...cases
} = JSON.parse(FILE) as {classWeights: number[]; weights: number[]} & Record<string, unknown>;
const CLASS_LOSSES = cases as Record<string, {loss: number; logits: Values; targets: Values; gradient: number[]}>;
const tensorOf = ({shape, values}: Values) => tf.tensor(values, shape);

const OPTIONS: [string, () => ClassLossOptions][] = [
  ['smoothed', () => ({labelSmoothing: 0.2})],
  ['byClass', () => ({classWeights})],
  ['smoothedByClass', () => ({classWeights: Object.fromEntries(classWeights.entries()), labelSmoothing: 0.1})],
  ['weighted', () => ({weights: tf.tensor2d(CLASS_LOSS_WEIGHTS, [2, 4])})],
  ['weightedByRow', () => ({weights: tf.tensor1d([2, 0.5])})],
  ['focal', () => ({focalGamma: 2})],
  ['focalRoot', () => ({focalGamma: 0.5})],
];

test.each(OPTIONS)('the cross-entropy is what PyTorch computes, with its gradient: %s', async (name, options) => {
  const {loss, logits, targets, gradient} = CLASS_LOSSES[name]!;
  await withoutLeaks(() =>
    tf.tidy(() => {
      const {value, grad} = tf.valueAndGrad(z => crossEntropyFromLogits(tensorOf(targets), z, options()))(
        tensorOf(logits),
      );
      expect(numbers(value)[0]).toBeCloseTo(loss, 5);
      expect(numbers(grad)).toBeAllClose(gradient, {rtol: 2e-5, atol: 2e-6});
    }),
  );
});

test.each([{labelSmoothing: 0.1}, {focalGamma: 2}, {classWeights: [1, 2]}])(
  'a position that does not count changes no cross-entropy, whatever its logits: %j',
  options => {
    const loss = (targets: number[], logits: number[][]) =>
      tf.tidy(() => numbers(crossEntropyFromLogits(tf.tensor1d(targets), tf.tensor2d(logits), options)));
    const expected = loss([0], [[1, 2]]);
    expect(loss([0, -100], [[1, 2], [NaN, NaN]])).toEqual(expected); // prettier-ignore
    expect(loss([0, -100], [[1, 2], [Infinity, 0]])).toEqual(expected); // prettier-ignore
  },
);

describe('compileModel', () => {
  /** A model whose outputs are its inputs. */
  const identity = (...shape: number[]) =>
    tf.sequential({layers: [tf.layers.activation({activation: 'linear', inputShape: shape})]});

  test('weighs positions, with class weights and label smoothing', () => {
    const {logits, targets, loss} = CLASS_LOSSES.weighted!;
    const model = identity(4, 5);
    compileModel(model, {optimizer: 'sgd', weighted: true, metrics: ['accuracy']});
    const ys = tensorOf(targets);
    const [value, accuracy] = model.evaluate(
      tensorOf(logits),
      withSampleWeights(ys, tf.tensor2d(CLASS_LOSS_WEIGHTS, [2, 4])),
    ) as tf.Scalar[];
    expect(numbers(value!)).toBeAllClose([loss]);
    compileModel(model, {optimizer: 'sgd', metrics: ['accuracy']});
    expect(numbers(accuracy!)).toEqual(numbers((model.evaluate(tensorOf(logits), ys) as tf.Scalar[])[1]!));
    compileModel(model, {optimizer: 'sgd', labelSmoothing: 0.1, classWeights});
    expect(numbers(model.evaluate(tensorOf(logits), ys) as tf.Scalar)).toBeAllClose([
      CLASS_LOSSES.smoothedByClass!.loss,
    ]);
  });

  test('weighs examples of classes and of a loss of your own', () => {
    const model = identity(2);
    const x = tf.tensor2d([[0, 0], [Math.log(3), 0]]); // prettier-ignore
    const targets = withSampleWeights(tf.tensor1d([1, 0]), [1, 3]);
    const [even, likely] = [Math.log(2), Math.log(4 / 3)];
    compileModel(model, {optimizer: 'sgd', weighted: true});
    expect(numbers(model.evaluate(x, targets) as tf.Scalar)).toBeAllClose([(even + 3 * likely) / 2]);
    // Counts 1 and 3 are weights of 2 and 2/3; their sum is that of both examples.
    compileModel(model, {optimizer: 'sgd', weighted: true, classWeights: balancedClassWeights([1, 3])});
    const sum = (2 / 3) * even + 3 * 2 * likely;
    expect(numbers(model.evaluate(x, targets) as tf.Scalar)).toBeAllClose([sum / (2 + 2 / 3)]);
    compileModel(model, {
      optimizer: 'sgd',
      weighted: true,
      loss: (ys, outputs) => tf.abs(tf.sub(ys, tf.slice(outputs, [0, 0], [-1, 1]))),
    });
    const own = (1 + 3 * Math.log(3)) / 2;
    expect(numbers(model.evaluate(x, targets) as tf.Scalar)).toBeAllClose([own]);
  });

  test.each<[string, object, string]>([
    ['a smoothing above 1', {labelSmoothing: 2}, 'labelSmoothing must be a number from 0 to 1, got 2.'],
    ['no class weights', {classWeights: []}, 'classWeights must have a number for each class'],
    ['a negative class weight', {classWeights: [1, -1]}, 'The weight of class 1 must be a number'],
    ['weights of pairs', {loss: 'pairs', weighted: true}, 'weighted does not apply to the loss "pairs".'],
    ['smoothing of a function', {loss: tf.losses.meanSquaredError, labelSmoothing: 0.1}, 'labelSmoothing does not'],
  ])('%s is an error', (_name, options, message) => {
    const compile = () => compileModel(identity(2), {optimizer: 'sgd', ...options});
    expect(compile).toThrow(LoRAError);
    expect(compile).toThrow(message);
  });

  test('class weights of other classes are an error while training', () => {
    const model = identity(3);
    compileModel(model, {optimizer: 'sgd', classWeights: [1, 2]});
    expect(() => model.evaluate(tf.ones([1, 3]), tf.tensor1d([0]))).toThrow('one number for each of the 3 classes');
  });
});

interface Fit {
  shape: number[];
  outputs: number;
  targets: Values;
  kernel: number[];
  evaluated: number | number[];
  losses: number[];
  trained: {kernel: number[]; bias: number[]};
}

const read = (name: string) =>
  JSON.parse(readFileSync(join(__dirname, '../../fixtures', name), 'utf8')) as Record<string, unknown>;
const {x: X, weights: WEIGHTS, ...CASES} = read('weightedFits.json') as {x: number[]; weights: number[]};
const FITS = CASES as unknown as Record<string, Fit>;
const SIGMOID = read('weightedLosses.json') as unknown as Record<
  string,
  {loss: number; logits: Values; targets: Values; gradient: number[]}
>;

/** A Dense layer with the values of a fixture. */
function dense({shape, outputs, kernel}: Fit, activation: 'linear' | 'softmax' | 'sigmoid'): tf.Sequential {
  const layer = tf.layers.dense({units: outputs, activation, inputShape: shape});
  const model = tf.sequential({layers: [layer]});
  tf.tidy(() => layer.setWeights([tf.tensor(kernel, [shape.at(-1)!, outputs]), tf.zeros([outputs])]));
  return model;
}

const ACTIVATIONS = {
  meanSquaredError: 'linear',
  meanAbsoluteError: 'linear',
  categoricalCrossentropy: 'softmax',
  sparseCategoricalCrossentropy: 'softmax',
  binaryCrossentropy: 'sigmoid',
} as const;

test.each(Object.keys(ACTIVATIONS) as (keyof typeof ACTIVATIONS)[])(
  '%s with sample weights trains and evaluates as in Keras',
  async loss => {
    const fit = FITS[loss]!;
    await withoutLeaks(async () => {
      const model = dense(fit, ACTIVATIONS[loss]);
      const x = tf.tensor(X, [7, ...fit.shape]);
      const ys = tf.tensor(fit.targets.values, fit.targets.shape);
      const targets = withSampleWeights(ys, WEIGHTS);
      const optimizer = tf.train.sgd(0.1);
      compileModel(model, {weighted: true, optimizer, loss, metrics: loss === 'meanSquaredError' ? ['mae'] : []});
      const evaluated = [model.evaluate(x, targets, {batchSize: 3})].flat();
      expect(evaluated.flatMap(numbers)).toBeAllClose([fit.evaluated].flat(), {rtol: 1e-5, atol: 1e-6});
      const {history} = await model.fit(x, targets, {batchSize: 3, epochs: 2, shuffle: false});
      expect(history.loss).toBeAllClose(fit.losses, {rtol: 1e-5, atol: 1e-6});
      const [kernel, bias] = model.getWeights();
      expect(numbers(kernel!)).toBeAllClose(fit.trained.kernel, {rtol: 1e-5, atol: 1e-6});
      expect(numbers(bias!)).toBeAllClose(fit.trained.bias, {rtol: 1e-5, atol: 1e-6});
      tf.dispose([x, ys, targets, evaluated]);
      optimizer.dispose();
      model.dispose();
    });
  },
);

test.each([
  ['sigmoidFocal', {alpha: 0.25}],
  ['sigmoidFocalUnbalanced', {gamma: 1.5}],
])('the focal loss is that of torchvision, with its gradient: %s', (name, options) => {
  const {loss, logits, targets, gradient} = SIGMOID[name]!;

  const {value, grad} = tf.valueAndGrad(z =>
    tf.mean<tf.Scalar>(focalLoss(options)(tf.tensor(targets.values, targets.shape), z)),
  )(tf.tensor(logits.values, logits.shape));
  expect(numbers(value)).toBeAllClose([loss], {rtol: 1e-5, atol: 1e-6});
  expect(numbers(grad)).toBeAllClose(gradient, {rtol: 1e-4, atol: 1e-6});
});

test('the focal loss of an example is a mean over its outputs', () => {
  // Of logits of 0, each term is −(1 − ½)² · ln ½; an output of −ln 3 has p = ¼.
  const loss = focalLoss()(tf.zeros([2, 2]), tf.tensor2d([[0, 0], [0, -Math.log(3)]])); // prettier-ignore
  const [half, quarter] = [Math.log(2) / 4, Math.log(4 / 3) / 16];
  expect(loss.shape).toEqual([2]);
  expect(numbers(loss)).toBeAllClose([half, (half + quarter) / 2]);
});

describe('weights', () => {
  /** Two outputs of one input, both the identity. */
  function twice(): tf.LayersModel {
    const input = tf.input({shape: [1]});
    const outputs = ['one', 'other'].map(
      name =>
        tf.layers.dense({units: 1, useBias: false, name, kernelInitializer: 'ones'}).apply(input) as tf.SymbolicTensor,
    );
    return tf.model({inputs: input, outputs});
  }

  test('a model of several outputs has weights for each', async () => {
    const model = twice();
    const loss = ['meanSquaredError', 'meanAbsoluteError'] as const;
    compileModel(model, {weighted: true, optimizer: 'sgd', loss, metrics: ['mae']});
    const x = tf.tensor2d([[1], [3]]);
    const zeros = tf.zeros([2, 1]);
    const targets = [withSampleWeights(zeros, [2, 1]), withSampleWeights(zeros)];
    const {history} = await model.fit(x, targets, {validationData: [x, targets], batchSize: 2});
    // (2·1² + 1·3²) / 2 and (1 + 3) / 2
    expect(history.loss).toBeAllClose([7.5]);
    expect(history.one_loss).toBeAllClose([5.5]);
    expect(history.other_loss).toBeAllClose([2]);
    expect(history.one_mae).toBeAllClose([2]);
  });

  test('datasets, features and splits train with weights', async () => {
    const base = tf.sequential({
      layers: [
        tf.layers.dense({units: 4, inputShape: [3], name: 'first'}),
        tf.layers.dense({units: 1, name: 'second', kernelInitializer: 'ones'}),
      ],
    });
    const train = async (fit: (model: tf.LayersModel, x: tf.Tensor, ys: tf.Tensor) => Promise<tf.History>) => {
      const model = applyLoRA(base, {targets: ['second'], rank: 1, seed: 1});
      compileModel(model, {weighted: true, optimizer: adam({learningRate: 0.1}), loss: 'meanSquaredError'});
      const {history} = await fit(
        model,
        tf.tensor2d(X, [7, 3]),
        withSampleWeights(tf.tensor2d(X.slice(0, 7), [7, 1]), WEIGHTS),
      );
      const trained = model.trainableWeights.flatMap(weight => numbers(weight.read()));
      return [...(history.loss as number[]), ...trained];
    };
    const args = {epochs: 2, batchSize: 7, shuffle: false};
    const expected = await train((model, x, ys) => model.fit(x, ys, args));
    expect(await train((model, x, ys) => fitOnFeatures(model, x, ys, args))).toBeAllClose(expected);
    const data = (x: tf.Tensor, ys: tf.Tensor) => seededBatches(x, ys, {batchSize: 7, seed: 1});
    expect(await train((model, x, ys) => model.fitDataset(data(x, ys), {epochs: 2}))).toBeAllClose(expected, {
      rtol: 1e-4,
      atol: 1e-5,
    });
  });

  test('weights of examples and positions go where they belong', () => {
    const shapes = (ys: number[], weights?: number[]) =>
      withSampleWeights(tf.ones(ys), weights && tf.ones(weights)).shape;
    expect(shapes([3])).toEqual([3, 1, 2]);
    expect(shapes([3], [3, 1])).toEqual([3, 1, 2]);
    expect(shapes([3, 4], [3])).toEqual([3, 5]);
    expect(shapes([3, 4], [3, 4])).toEqual([3, 4, 2]);
    expect(shapes([3, 4, 2], [3])).toEqual([3, 4, 3]);
    expect(shapes([3, 4, 2], [3, 4])).toEqual([3, 4, 3]);
  });

  test.each<[string, () => unknown, string]>([
    ['an empty list', () => withSampleWeights(tf.ones([2]), []), 'got [].'],
    [
      'NaN',
      () => withSampleWeights(tf.ones([2]), [1, NaN]),
      'Weight 1 is NaN. Weights must be finite numbers, 0 or more.',
    ],
    ['a negative one', () => withSampleWeights(tf.ones([2]), tf.tensor1d([-1, 1])), 'Weight 0 is -1.'],
    ['a string', () => withSampleWeights(tf.ones([2]), 'heavy'), 'got a string'],
    [
      'too few',
      () => withSampleWeights(tf.ones([2, 3]), [1]),
      'must have one value for each example, [2], or position',
    ],
    ['no targets', () => withSampleWeights(tf.zeros([0, 3])), 'at least one example, [batch, …], got [0, 3].'],
    ['no counts', () => balancedClassWeights([]), 'got [].'],
    ['a class without examples', () => balancedClassWeights([3, 0]), 'Class 1 has 0 examples.'],
    ['an alpha above 1', () => focalLoss({alpha: 2}), 'alpha must be a number from 0 to 1, got 2.'],
    ['an option that does not exist', () => focalLoss({alphas: 1} as never), 'There is no option "alphas"'],
    ['labels of another shape', () => focalLoss()(tf.ones([2, 1]), tf.ones([2, 3])), 'the shape of the logits [2, 3]'],
  ])('%s is an error', (_name, call, message) => {
    expect(call).toThrow(LoRAError);
    expect(call).toThrow(message);
  });

  test('targets without weights, and losses without examples, are errors', () => {
    const model = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [2]})]});
    compileModel(model, {weighted: true, optimizer: 'sgd', loss: 'meanSquaredError'});
    expect(() => model.evaluate(tf.ones([3, 2]), tf.ones([3, 1]))).toThrow('Pass withSampleWeights(ys, weights)');
    expect(() => model.evaluate(tf.ones([3, 2]), withSampleWeights(tf.ones([3, 2]), tf.ones([3, 2])))).toThrow(
      'The weights [3, 2] must have the shape of the losses, [3], or its first axes.',
    );
    compileModel(model, {
      weighted: true,
      optimizer: 'sgd',
      loss: (ys, outputs) => tf.losses.meanSquaredError(ys, outputs),
    });
    expect(() => model.evaluate(tf.ones([3, 2]), withSampleWeights(tf.ones([3, 2])))).toThrow(
      'must return a value for each example',
    );
  });

  test('class weights balance counts as in scikit-learn', () => {
    expect(balancedClassWeights([90, 10])).toEqual({0: 100 / 180, 1: 5});
  });
});
