import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, findLearningRate, LoRAError, seededBatches, sgd} from 'tfjs-lora';
import {digitReader, rotatedDigits} from 'tfjs-lora/quickstart';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {mlp} from '../../models';

test('a sweep leaves model and optimizer as they were, and no tensor', async () => {
  const {model: base, inputs} = mlp();
  const model = applyLoRA(base, {
    rank: 2,
    targets: ['hidden'],
    trainInFull: ['head'],
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
    const {steps, curve} = await findLearningRate(model, x, y, {steps: 30, batchSize: 4});
    expect(steps.length).toBeGreaterThan(5);
    expect(curve[0]).toEqual({x: Math.log10(steps[0]!.learningRate), y: steps[0]!.smoothed});
  });
  expect(await all()).toEqual(before);
  expect(model.optimizer).toBe(optimizer);
  expect(optimizer.iterations).toBe(1);
  expect(optimizer.getConfig().learningRate).toBe(0.02);
});

describe('the suggestion', () => {
  const glorot = (seed: number) => tf.initializers.glorotUniform({seed});

  /** The 400 of the quickstart's turned digits, and the model that reads upright ones. */
  function digits(seed: number) {
    const {images, labels} = rotatedDigits();
    return {model: applyLoRA(digitReader(), {rank: 4, seed}), x: images, y: labels, loss: 'categoricalCrossentropy'};
  }

  /** y = x · (1, −2, 0.5, 1) + noise of 0.3. */
  function regression(seed: number) {
    const {dense} = tf.layers;
    const base = tf.sequential({
      layers: [
        dense({units: 16, activation: 'tanh', inputShape: [4], kernelInitializer: glorot(10 * seed + 1)}),
        dense({units: 16, activation: 'tanh', kernelInitializer: glorot(10 * seed + 2)}),
        dense({units: 1, kernelInitializer: glorot(10 * seed + 3)}),
      ],
    });
    const x = tf.randomUniform<tf.Rank.R2>([256, 4], -1, 1, 'float32', seed);
    const y = tf.tidy(() =>
      tf.add(
        tf.matMul(x, tf.tensor2d([1, -2, 0.5, 1], [4, 1])),
        tf.randomNormal([256, 1], 0, 0.3, 'float32', seed + 50),
      ),
    );
    return {model: applyLoRA(base, {rank: 4, seed}), x, y, loss: 'meanSquaredError'};
  }

  /** Texts of eight words out of forty. The class is the remainder by three that most of its words have. */
  function texts(seed: number) {
    const {layers} = tf;
    const base = tf.sequential({
      layers: [
        layers.embedding({inputDim: 40, outputDim: 12, inputLength: 8, embeddingsInitializer: glorot(10 * seed + 1)}),
        layers.conv1d({filters: 16, kernelSize: 3, activation: 'relu', kernelInitializer: glorot(10 * seed + 2)}),
        layers.globalAveragePooling1d({}),
        layers.dropout({rate: 0.1, seed: 3}),
        layers.dense({units: 3, activation: 'softmax', kernelInitializer: glorot(10 * seed + 3)}),
      ],
    });
    const x = tf.floor(tf.randomUniform([300, 8], 0, 40, 'float32', seed));
    const y = tf.tidy(() => {
      const counts = [0, 1, 2].map(rest => tf.sum(tf.cast(tf.equal(tf.mod(x, 3), rest), 'float32'), 1));
      return tf.cast(tf.oneHot(tf.argMax(tf.stack(counts, 1), 1), 3), 'float32');
    });
    return {
      model: applyLoRA(base, {rank: 3, targets: ['Embedding', 'Conv1D', 'Dense'], seed}),
      x,
      y,
      loss: 'categoricalCrossentropy',
    };
  }

  // Beyond a rate of some hundredths Adam overshoots in all of them; below a thousandth a hundred steps go nowhere.
  test.each(
    Object.entries({digits, regression, texts}).flatMap(([name, task]) =>
      [1, 2].map(seed => [name, seed, task] as const),
    ),
  )(
    'for %s, seed %i, is a usable rate while there is something to learn, and none then',
    async (_, seed, task) => {
      const {model, x, y, loss} = task(seed);
      const optimizer = adam({learningRate: 5e-3});
      model.compile({optimizer, loss});
      const suggested = async () => (await findLearningRate(model, x, y, {seed})).suggestion;
      const batches = seededBatches(x, y, {batchSize: 32, seed: 7});
      const rates = [await suggested()];
      await model.fitDataset(batches, {epochs: 1, verbose: 0});
      rates.push(await suggested());
      for (const rate of rates) {
        expect(rate).toBeGreaterThan(1e-3);
        expect(rate).toBeLessThan(5e-2);
      }
      await model.fitDataset(batches, {epochs: 19, verbose: 0});
      expect(await suggested()).toBeUndefined();
    },
    120_000,
  );
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
  await expect(sweep({})).rejects.toThrow('already training');
  await fit;
});
