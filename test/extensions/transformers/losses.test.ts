import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, disposeModel, trainableVariables} from 'tfjs-lora';
import {
  cosineLoss,
  crossEntropyFromLogits,
  loadTransformer,
  rankingLoss,
  similarities,
  spanAccuracy,
  spanCrossEntropy,
  spanF1,
} from 'tfjs-lora/transformers';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {fixture} from './fixtures';

interface Case {
  loss: number;
  inputs: Record<string, {shape: number[]; values: number[]}>;
  gradients: Record<string, number[]>;
}

const CASES = JSON.parse(readFileSync(join(__dirname, '../../fixtures/losses.json'), 'utf8')) as Record<string, Case>;

type Inputs = Record<string, tf.Tensor>;

const LOSSES: [string, (inputs: Inputs) => tf.Scalar][] = [
  ['positions', ({targets, logits}) => crossEntropyFromLogits(targets!, logits!)],
  ['spans', ({targets, logits}) => spanCrossEntropy(targets!, logits!)],
  ['ranking', ({anchors, candidates}) => rankingLoss(anchors!, candidates!)],
  ['rankingWithNegatives', ({anchors, candidates}) => rankingLoss(anchors!, candidates!, {scale: 5})],
  ['rankingOfProducts', ({anchors, candidates}) => rankingLoss(anchors!, candidates!, {scale: 1, similarity: 'dot'})],
  ['symmetric', ({anchors, candidates}) => rankingLoss(anchors!, candidates!, {symmetric: true})],
  ['symmetricWithNegatives', ({anchors, candidates}) => rankingLoss(anchors!, candidates!, {symmetric: true})],
  ['cosine', ({one, other, targets}) => cosineLoss(targets!, one!, other!)],
];

test.each(LOSSES)('%s is what PyTorch computes, with its gradients', async (name, compute) => {
  const {loss, inputs, gradients} = CASES[name]!;
  await withoutLeaks(() =>
    tf.tidy(() => {
      const given = Object.fromEntries(
        Object.entries(inputs).map(([key, {shape, values}]) => [key, tf.tensor(values, shape)]),
      );
      const names = Object.keys(gradients);
      const ours = tf.valueAndGrads((...tensors: tf.Tensor[]) =>
        compute({...given, ...Object.fromEntries<tf.Tensor>(tensors.map((tensor, i) => [names[i]!, tensor]))}),
      )(names.map(key => given[key]!));
      expect(numbers(ours.value)[0]).toBeCloseTo(loss, 5);
      names.forEach((key, i) =>
        expect(numbers(ours.grads[i]!)).toBeAllClose(gradients[key]!, {rtol: 2e-5, atol: 2e-6}),
      );
    }),
  );
});

test.each([49_152, 262_144])('the cross-entropy of %i classes and its gradient are those of float64', classes => {
  const targets = [0, classes - 1, 1001];
  const logits = Float32Array.from({length: 3 * classes}, (_, i) =>
    i % classes === targets[Math.floor(i / classes)] ? 12 : 2 * Math.sin(12.9898 * i),
  );
  const rows = targets.map((target, row) => {
    const z = logits.subarray(row * classes, (row + 1) * classes);
    const whole = z.reduce((sum, value) => sum + Math.exp(value), 0);
    return {
      loss: Math.log(whole) - z[target]!,
      of: (j: number) => Math.exp(z[j]!) / whole - (j === target ? 1 : 0),
    };
  });
  const {value, grad} = tf.valueAndGrad(z => crossEntropyFromLogits(tf.tensor1d(targets, 'int32'), z))(
    tf.tensor2d(logits, [3, classes]),
  );
  const expected = Array.from(logits, (_, i) => rows[Math.floor(i / classes)]!.of(i % classes) / 3);
  expect(numbers(value)).toBeAllClose([rows.reduce((sum, {loss}) => sum + loss / 3, 0)], {rtol: 5e-7, atol: 0});
  expect(grad.dataSync()).toBeAllClose(expected, {rtol: 1e-6, atol: 0});
});

test('similarities are cosines or products of each with each', async () => {
  await withoutLeaks(() =>
    tf.tidy(() => {
      const [one, other] = [tf.tensor2d([[3, 4]]), tf.tensor2d([[4, 3], [0, 5], [0, 0]])]; // prettier-ignore
      expect(numbers(similarities(one, other))).toBeAllClose([24 / 25, 20 / 25, 0]);
      expect(numbers(similarities(one, other, 'dot'))).toEqual([24, 20, 0]);
    }),
  );
});

test('an embedding of zeros has a loss and no gradient', () => {
  const anchors = tf.tensor2d([[0, 0], [1, 0]]); // prettier-ignore
  const candidates = tf.tensor2d([[1, 0], [0, 1]]); // prettier-ignore
  const {value, grads} = tf.valueAndGrads((x: tf.Tensor) => rankingLoss(x, candidates, {scale: 1}))([anchors]);
  // The first is as far from both; the cosines of the second are 1 and 0, and its own is the other one.
  expect(numbers(value)[0]).toBeCloseTo((Math.log(2) + Math.log(1 + Math.E)) / 2, 6);
  expect(numbers(grads[0]!).slice(0, 2)).toEqual([0, 0]);
});

// The likeliest spans are 0–1, 2–2, 3–1 and 1–3.
const LOGITS = [
    [[9, 0], [1, 9], [0, 0], [0, 0]],
    [[0, 0], [0, 1], [7, 7], [0, 0]],
    [[0, 0], [0, 2], [0, 1], [3, 0]],
    [[0, 0], [5, 1], [0, 1], [0, 4]],
  ]; // prettier-ignore

test('metrics of spans compare first and last positions', async () => {
  await withoutLeaks(() =>
    tf.tidy(() => {
      const logits = tf.tensor3d(LOGITS);
      const all = [[0, 1], [2, 3], [1, 3], [2, 3]]; // prettier-ignore
      const valueOf = (metric: ReturnType<typeof spanF1>, targets: number[][]) =>
        numbers(metric(tf.tensor2d(targets), logits))[0];
      expect(valueOf(spanAccuracy(), all)).toBeCloseTo(1 / 4, 6);
      // The same; one of 1 and 2 positions shared; a guess that is none; two of 3 and 2.
      expect(valueOf(spanF1(), all)).toBeCloseTo((1 + 2 / 3 + 0 + 4 / 5) / 4, 6);
      // A span that was cut off, and one that is ignored.
      const some = [[0, 1], [2, 3], [2, 7], [-100, -100]]; // prettier-ignore
      expect(valueOf(spanAccuracy(), some)).toBeCloseTo(1 / 2, 6);
      expect(valueOf(spanF1(), some)).toBeCloseTo((1 + 2 / 3) / 2, 6);
      expect(valueOf(spanF1(), [[9, 9], [9, 9], [9, 9], [9, 9]])).toBeNaN(); // prettier-ignore
    }),
  );
});

test('a model for question answering is trained by fit on first and last positions', async () => {
  const {config, weights, expected} = fixture('bertSpans');
  const {model: base} = await loadTransformer({config, weights});
  const model = applyLoRA(base, {rank: 2, targets: [/query$/], trainInFull: ['qa_outputs']});
  compileModel(model, {optimizer: adam({learningRate: 0.1}), metrics: ['accuracy', spanF1()]});
  const inputs = [tf.tensor(expected.ids, undefined, 'int32'), tf.tensor(expected.mask)];
  const targets = tf.tensor2d([[2, 4], [1, 1]]); // prettier-ignore
  const {history} = await model.fit(inputs, targets, {epochs: 40, verbose: 0});
  expect(Object.keys(history)).toEqual(['loss', 'acc', 'f1']);
  expect(history.loss!.at(-1)).toBeLessThan(0.1);
  expect(history.acc!.at(-1)).toBe(1);
});

test('an encoder learns which texts belong together', async () => {
  const {config, weights} = fixture('bert');
  const {model: base} = await loadTransformer({config, weights, pooling: 'mean'});
  const model = applyLoRA(base, {rank: 2, targets: [/query$/, /value$/], seed: 1});
  const encode = (rows: number[][]) => {
    const ids = tf.tensor2d(rows, undefined, 'int32');
    return model.apply([ids, tf.onesLike(ids)], {training: true}) as tf.Tensor;
  };
  const [questions, answers] = [[[3, 4], [5, 6], [7, 8]], [[9, 1], [8, 2], [7, 3]]]; // prettier-ignore
  const loss = () => rankingLoss(encode(questions), encode(answers));
  const optimizer = adam({learningRate: 0.05});
  const variables = trainableVariables(model);
  const first = tf.tidy(() => numbers(loss())[0]!);
  for (let step = 0; step < 10; step++) {
    tf.tidy(() => {
      optimizer.minimize(loss, false, variables);
    });
  }
  expect(tf.tidy(() => numbers(loss())[0])).toBeLessThan(first / 2);
});

describe('what does not fit is refused', () => {
  beforeAll(() => useBackend('cpu'));
  test.each<[string, () => unknown, string]>([
    [
      'targets that are no spans',
      () => spanCrossEntropy(tf.zeros([2]), tf.zeros([2, 5, 2])),
      'Spans are [batch, 2], the first and the last position, of logits [batch, positions, 2]; got targets [2] of ' +
        'logits [2, 5, 2].',
    ],
    [
      'a position that is no number',
      () => spanCrossEntropy(tf.fill([1, 2], 0.5), tf.zeros([1, 5, 2])),
      'Target 0 is 0.5',
    ],
    ['embeddings of another width', () => rankingLoss(tf.zeros([2, 3]), tf.zeros([2, 4])), 'got [2, 3] and [2, 4].'],
    [
      'fewer candidates than anchors',
      () => rankingLoss(tf.zeros([3, 2]), tf.zeros([2, 2])),
      'There must be a candidate for each of the 3 anchors, got 2.',
    ],
    [
      'a scale of 0',
      () => rankingLoss(tf.zeros([1, 2]), tf.zeros([1, 2]), {scale: 0}),
      'scale must be a positive number',
    ],
    [
      'an unknown similarity',
      () => similarities(tf.zeros([1, 2]), tf.zeros([1, 2]), 'l2' as 'dot'),
      `similarity must be 'cosine' or 'dot', got "l2".`,
    ],
    ['pairs of unequal number', () => cosineLoss(tf.zeros([2]), tf.zeros([2, 3]), tf.zeros([1, 3])), 'as many of one'],
    [
      'too few targets',
      () => cosineLoss(tf.zeros([1]), tf.zeros([2, 3]), tf.zeros([2, 3])),
      'There must be a target for each of 2 pairs, got [1].',
    ],
  ])('%s', async (_, call, message) => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        expect(call).toThrow(message);
      }),
    );
  });

  test('a model with another output, or a metric that is none, for spans', async () => {
    const {config, weights} = fixture('bertTokenClasses');
    const {model} = await loadTransformer({config, weights});
    expect(() => compileModel(model, {optimizer: 'sgd', loss: 'spans'})).toThrow(
      'The model must have one output [batch, positions, 2], a start and an end, got [null, null, 3].',
    );
    disposeModel(model);
    const spans = fixture('bertSpans');
    const {model: answers} = await loadTransformer({config: spans.config, weights: spans.weights});
    expect(() => compileModel(answers, {optimizer: 'sgd', metrics: 'perplexity'})).toThrow(
      'There is no metric "perplexity" for spans. There are accuracy, f1, functions of your own.',
    );
  });
});

test('a head for CTC needs the loss of the entry point of sounds, unless another one is named', async () => {
  await useBackend('cpu');
  const {config, weights} = fixture('wav2vec2CTC');
  const {model} = await loadTransformer({config, weights});
  expect(() => compileModel(model, {optimizer: 'sgd'})).toThrow("import 'tfjs-lora/sound'");
  compileModel(model, {optimizer: 'sgd', loss: 'crossEntropy'});
});
