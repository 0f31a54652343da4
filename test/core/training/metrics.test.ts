import * as tf from '@tensorflow/tfjs';
import {accuracy, adam, applyLoRA, bestAdapter, compileModel, f1Score, type MetricFunction} from 'tfjs-lora';
import {perplexity, spanAccuracy, spanF1} from 'tfjs-lora/transformers';
import {random, useBackend, withoutLeaks} from '../../helpers';

const valueOf = (metric: MetricFunction, targets: tf.Tensor, logits: tf.Tensor) =>
  tf.tidy(() => metric(targets, logits).dataSync()[0]);

// The guesses are 0, 1, 2, 0, 2, and the fourth position does not count: two of four are right.
const LOGITS = [
  [3, 1, 2],
  [0, 5, 1],
  [1, 2, 4],
  [9, 0, 0],
  [0, 1, 3],
];
const TARGETS = [0, 2, 0, -100, 2];

test.each([
  ['accuracy', accuracy(), 2 / 4],
  ['accuracy of every position', accuracy({ignoreIndex: -1}), 2 / 5],
  ['top 1', accuracy({topK: 1}), 2 / 4],
  ['top 2', accuracy({topK: 2}), 3 / 4], // of the second position 1 and 2
  ['top 3', accuracy({topK: 3}), 1],
  // Class 0: one found, one missed. Class 1: one false. Class 2: one found, one missed, one false.
  ['F1', f1Score(), (2 / 3 + 0 + 2 / 4) / 3],
  ['F1 of class 0', f1Score({positive: 0}), 2 / 3],
  ['F1 of class 1', f1Score({positive: 1}), 0],
])('%s of logits and whole numbers', async (_, metric, expected) => {
  await withoutLeaks(() => {
    const logits = tf.tensor2d(LOGITS);
    const threeAxes = tf.reshape(logits, [1, 5, 3]);
    for (const [targets, predictions] of [
      [tf.tensor1d(TARGETS, 'int32'), logits],
      [tf.tensor2d(TARGETS, [5, 1]), logits],
      [tf.tensor2d(TARGETS, [1, 5], 'int32'), threeAxes],
    ] as const) {
      expect(valueOf(metric, targets, predictions)).toBeCloseTo(expected, 6);
      targets.dispose();
    }
    tf.dispose([logits, threeAxes]);
  });
});

test('F1 is a mean over the classes that occur', () => {
  const logits = tf.tensor2d([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]]); // prettier-ignore
  // Class 0: found, and false once. Class 1: found, and missed once. Nobody names 2 and 3.
  expect(valueOf(f1Score(), tf.tensor1d([0, 1, 1]), logits)).toBeCloseTo((2 / 3 + 2 / 3) / 2, 6);
});

test('perplexity is that of a choice among equally likely tokens', () => {
  expect(valueOf(perplexity(), tf.tensor2d([[0, 3]]), tf.zeros([1, 2, 4]))).toBeCloseTo(4, 5);
  // Chances of 1/2 and 1/8, and a position that does not count: √(2 · 8) = 4.
  const logits = tf.log(tf.tensor2d([[1 / 2, 1 / 2], [7 / 8, 1 / 8], [0.1, 0.9]])); // prettier-ignore
  expect(valueOf(perplexity(), tf.tensor1d([0, 1, -100]), logits)).toBeCloseTo(4, 5);
});

test('where nothing counts, a metric is NaN rather than a number that a mean would take', () => {
  const [targets, logits] = [tf.tensor1d([-100, -100]), tf.zeros([2, 6])];
  for (const metric of [accuracy(), accuracy({topK: 5}), f1Score(), f1Score({positive: 0}), perplexity()]) {
    expect(valueOf(metric, targets, logits)).toBeNaN();
  }
  // Neither a target nor a guess is class 2: its score is 0 / 0.
  expect(valueOf(f1Score({positive: 2}), tf.tensor1d([0, 1]), tf.zeros([2, 3]))).toBeNaN();
  const spans = tf.tensor2d([[-100, 3]]);
  for (const metric of [spanAccuracy(), spanF1()]) {
    expect(valueOf(metric, spans, tf.zeros([1, 4, 2]))).toBeNaN();
  }
});

test('bestAdapter reports an epoch in which a batch had nothing to measure', async () => {
  const base = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [4]})]});
  const model = applyLoRA(base, {rank: 1, seed: 1});
  const optimizer = adam();
  compileModel(model, {optimizer, metrics: 'accuracy'});
  const [x, y] = [random<tf.Rank.R2>([4, 4], 3), tf.tensor1d([0, 1, -100, -100])];
  const fit = (monitor: string) =>
    model.fit(x, y, {batchSize: 2, verbose: 0, shuffle: false, callbacks: [bestAdapter({monitor})]});
  await expect(fit('acc')).rejects.toThrow(/"acc" was NaN in epoch 1.*larger batches/);
  const {history} = await fit('loss');
  expect(history.acc).toEqual([NaN]);
});

test('a fit for whole numbers logs them, and bestAdapter keeps the epoch of the best accuracy', async () => {
  const base = tf.sequential({
    layers: [
      tf.layers.dense({units: 8, activation: 'tanh', inputShape: [4], kernelInitializer: initializer(1)}),
      tf.layers.dense({units: 3, kernelInitializer: initializer(2)}),
    ],
  });
  const model = applyLoRA(base, {rank: 2, seed: 1});
  const x = random<tf.Rank.R2>([40, 4], 3);
  const y = tf.tidy(() => tf.argMax(tf.slice(x, [0, 0], [-1, 3]), 1));
  const optimizer = adam({learningRate: 0.5}); // so large that epochs differ
  const metrics = ['accuracy', 'f1', 'perplexity', accuracy({topK: 2})] as const;
  compileModel(model, {optimizer, metrics: [...metrics]});
  const best = bestAdapter({monitor: 'val_acc'});
  const fit = () => model.fit(x, y, {epochs: 6, verbose: 0, shuffle: false, validationData: [x, y], callbacks: [best]});
  await fit();
  let history: Record<string, number[]> = {};
  await withoutLeaks(async () => {
    history = (await fit()).history as Record<string, number[]>;
  });
  expect(Object.keys(history)).toEqual([
    'val_loss',
    'val_acc',
    'val_f1',
    'val_perplexity',
    'val_top2',
    'loss',
    'acc',
    'f1',
    'perplexity',
    'top2',
  ]);
  const right = tf.tidy(() =>
    tf.mean(tf.cast(tf.equal(tf.argMax(model.predict(x) as tf.Tensor, 1), y), 'float32')).dataSync(),
  );
  expect(Math.max(...history.val_acc!)).toBeCloseTo(right[0]!, 6);
  expect(Math.min(...history.val_acc!)).toBeLessThan(right[0]!);
});

test('plain compile takes them', () => {
  const model = tf.sequential({
    layers: [tf.layers.dense({units: 3, activation: 'softmax', useBias: false, inputShape: [3]})],
  });
  model.setWeights([tf.eye(3)]);
  model.compile({
    optimizer: 'sgd',
    loss: 'sparseCategoricalCrossentropy',
    metrics: [accuracy(), accuracy({topK: 2})] as tf.ModelCompileArgs['metrics'] & {},
  });
  const rows = LOGITS.filter((_, i) => i !== 3);
  const targets = TARGETS.filter((_, i) => i !== 3);
  const [, right, top] = model.evaluate(tf.tensor2d(rows), tf.tensor2d(targets, [4, 1])) as tf.Scalar[];
  expect([right!.dataSync()[0], top!.dataSync()[0]]).toEqual([0.5, 0.75]);
});

const initializer = (seed: number) => tf.initializers.glorotUniform({seed});

test('what makes no sense is refused', async () => {
  await useBackend('cpu');
  expect(() => accuracy({topK: 0})).toThrow('topK must be a whole number, 1 or more, got 0.');
  expect(() => f1Score({positive: -1})).toThrow('positive must be the number of a class, got -1.');
  expect(() => accuracy({ignored: 1} as never)).toThrow('There is no option "ignored"');
  expect(() => accuracy(null as never)).toThrow('The options must be an object');

  const logits = tf.zeros([2, 3]);
  expect(() => accuracy()(logits, logits)).toThrow(
    'The targets of the metric "acc" must be whole numbers, one for each position of the predictions [2, 3], got [2,',
  );
  expect(() => accuracy({topK: 5})(tf.zeros([2]), logits)).toThrow(
    'topK must be at most the number of classes, 3, got 5.',
  );
  expect(() => f1Score({positive: 3})(tf.zeros([2]), logits)).toThrow('positive must be one of the 3 classes');
  const model = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [2]})]});
  expect(() => compileModel(model, {optimizer: 'sgd', metrics: ['precision'] as never})).toThrow(
    'There is no metric "precision" for class indices.',
  );
  expect(model.optimizer).toBeUndefined();
});
