import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, findLearningRate, LoRAError, sgd} from 'tfjs-lora';
import {BACKENDS, numbers, random, useBackend, withoutLeaks} from '../helpers';
import {mlp} from '../models';

describe.each(BACKENDS)('on %s', backend => {
  beforeAll(() => useBackend(backend));

  test('a sweep leaves model and optimizer as they were, and no tensor', async () => {
    const {model: base, inputs} = mlp();
    const model = applyLoRA(base, {
      rank: 2,
      targets: ['hidden'],
      trainable: ['head'],
      seed: 1,
    });
    const optimizer = adam({learningRate: 0.02});
    model.compile({optimizer, loss: 'meanSquaredError'});
    const [x, y] = [random<tf.Rank.R2>([12, inputs[0]!.shape[1]!], 5), random<tf.Rank.R2>([12, 3], 6)];
    await model.fit(x, y, {epochs: 1, verbose: 0, shuffle: false});
    const all = async () => [
      ...model.weights.map(weight => numbers(weight.read())),
      ...(await optimizer.getWeights()).slice(1).map(({tensor}) => numbers(tensor)),
    ];
    const before = await all();
    await withoutLeaks(async () => {
      const {steps, curve, suggestion} = await findLearningRate(model, x, y, {steps: 30, batchSize: 4});
      expect(steps.length).toBeGreaterThan(5);
      expect(curve[0]).toEqual({x: Math.log10(steps[0]!.learningRate), y: steps[0]!.smoothed});
      expect(suggestion).toBeGreaterThan(1e-6);
    });
    expect(await all()).toEqual(before);
    expect(model.optimizer).toBe(optimizer);
    expect(optimizer.iterations).toBe(1);
    expect(optimizer.getConfig().learningRate).toBe(0.02);
    [model, base].forEach(each => disposeModel(each));
    tf.dispose([inputs, x, y]);
    optimizer.dispose();
  });
});

test('a sweep of gradient descent finds where a parabola diverges, and suggests less', async () => {
  await useBackend('cpu');
  // The loss is (w − 1)²: descent diverges beyond a rate of 1.
  const model = tf.sequential({
    layers: [tf.layers.dense({units: 1, useBias: false, kernelInitializer: 'zeros', inputShape: [1]})],
  });
  model.compile({optimizer: sgd({learningRate: 0.1}), loss: 'meanSquaredError'});
  const ones = tf.ones([4, 1]);
  const {steps, suggestion} = await findLearningRate(model, ones, ones, {from: 1e-4, to: 100, steps: 60, batchSize: 4});
  expect(steps.at(-1)!.learningRate).toBeGreaterThan(1);
  expect(steps.at(-1)!.learningRate).toBeLessThan(100);
  expect(suggestion).toBeGreaterThan(1e-3);
  expect(suggestion).toBeLessThan(1);
  expect(numbers(model.weights[0]!.read())).toEqual([0]);
  disposeModel(model);
  ones.dispose();
});

test('a sweep that makes no sense is refused', async () => {
  const {model, inputs} = mlp();
  const y = tf.ones([inputs[0]!.shape[0], 3]);
  const sweep = (options: object) => findLearningRate(model, inputs[0]!, y, options);
  await expect(sweep({})).rejects.toThrow('not compiled');
  model.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  for (const [options, message] of [
    [{from: 0}, 'from'],
    [{from: 1, to: 0.1}, 'to must be'],
    [{steps: 2}, 'steps'],
    [{step: 2}, 'There is no option "step"'],
  ] as const) {
    await expect(sweep(options)).rejects.toThrow(LoRAError);
    await expect(sweep(options)).rejects.toThrow(message);
  }
  const fit = model.fit(inputs[0]!, y, {verbose: 0});
  await expect(sweep({})).rejects.toThrow('training already');
  await fit;
  disposeModel(model);
  tf.dispose([inputs, y]);
});
