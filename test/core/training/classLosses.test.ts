import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {balancedClassWeights, type ClassLossOptions, compileModel, LoRAError, withSampleWeights} from 'tfjs-lora';
import {crossEntropyFromLogits} from 'tfjs-lora/transformers'; // has the loss of pairs too
import {numbers, withoutLeaks} from '../../helpers';

interface Values {
  shape: number[];
  values: number[];
}

const FILE = readFileSync(join(__dirname, '../../fixtures/weightedLosses.json'), 'utf8');
const {
  classWeights,
  weights: WEIGHTS,
  ...cases
} = JSON.parse(FILE) as {classWeights: number[]; weights: number[]} & Record<string, unknown>;
const CASES = cases as Record<string, {loss: number; logits: Values; targets: Values; gradient: number[]}>;
const tensorOf = ({shape, values}: Values) => tf.tensor(values, shape);

const OPTIONS: [string, () => ClassLossOptions][] = [
  ['smoothed', () => ({labelSmoothing: 0.2})],
  ['byClass', () => ({classWeights})],
  ['smoothedByClass', () => ({classWeights: Object.fromEntries(classWeights.entries()), labelSmoothing: 0.1})],
  ['weighted', () => ({weights: tf.tensor2d(WEIGHTS, [2, 4])})],
  ['weightedByRow', () => ({weights: tf.tensor1d([2, 0.5])})],
  ['focal', () => ({focalGamma: 2})],
  ['focalRoot', () => ({focalGamma: 0.5})],
];

test.each(OPTIONS)('the cross-entropy is what PyTorch computes, with its gradient: %s', async (name, options) => {
  const {loss, logits, targets, gradient} = CASES[name]!;
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

describe('compileModel', () => {
  /** A model whose outputs are its inputs. */
  const identity = (...shape: number[]) =>
    tf.sequential({layers: [tf.layers.activation({activation: 'linear', inputShape: shape})]});

  test('weighs positions, with class weights and label smoothing', () => {
    const {logits, targets, loss} = CASES.weighted!;
    const model = identity(4, 5);
    compileModel(model, {optimizer: 'sgd', weighted: true, metrics: ['accuracy']});
    const ys = tensorOf(targets);
    const [value, accuracy] = model.evaluate(
      tensorOf(logits),
      withSampleWeights(ys, tf.tensor2d(WEIGHTS, [2, 4])),
    ) as tf.Scalar[];
    expect(numbers(value!)).toBeAllClose([loss]);
    compileModel(model, {optimizer: 'sgd', metrics: ['accuracy']});
    expect(numbers(accuracy!)).toEqual(numbers((model.evaluate(tensorOf(logits), ys) as tf.Scalar[])[1]!));
    compileModel(model, {optimizer: 'sgd', labelSmoothing: 0.1, classWeights});
    expect(numbers(model.evaluate(tensorOf(logits), ys) as tf.Scalar)).toBeAllClose([CASES.smoothedByClass!.loss]);
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
