import * as tf from '@tensorflow/tfjs';
import {accuracy, applyLoRA, compileModel, disposeModel, f1Score, type LoRALayer, withSampleWeights} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {loadTransformer} from 'tfjs-lora/transformers';
import {sequenceLogProbs} from '../../../src/extensions/language/logProbs';
import {outputHead} from '../../../src/extensions/transformers/losses/outputHead';
import {CHUNK, sumsInChunks} from '../../../src/extensions/transformers/ops/headInChunks';
import {KeptGradients, numbers, random, withoutLeaks} from '../../helpers';
import {fileOf} from '../language/ggufFiles';
import {fixture} from './fixtures';

const WHOLE = CHUNK.logits;
afterEach(() => {
  CHUNK.logits = WHOLE;
});

const [ROWS, POSITIONS] = [2, 7];

/** The tokens of a batch, and the next token of each position. */
function batchFor(model: tf.LayersModel): {xs: tf.Tensor[]; ys: tf.Tensor} {
  const vocabulary = model.outputs[0]!.shape[2]!;
  const ids = Array.from({length: ROWS * POSITIONS}, (_, i) => (5 * i + 3) % vocabulary);
  const targets = ids.map((_, i) => (i % 4 === 1 || i > 10 ? -100 : (7 * i + 1) % vocabulary));
  const mask = tf.ones([ROWS, POSITIONS], 'int32');
  return {
    xs: [tf.tensor2d(ids, [ROWS, POSITIONS], 'int32'), mask],
    ys: tf.tensor2d(targets, [ROWS, POSITIONS]),
  };
}

type Options = Omit<Parameters<typeof compileModel>[1], 'optimizer'>;

/** What a step logs, what an evaluation gives, and the gradients, with chunks of a number of positions. */
async function stepOf(
  model: tf.LayersModel,
  {xs, ys}: {xs: tf.Tensor[]; ys: tf.Tensor},
  options: Options,
  positions: number,
): Promise<{values: number[]; gradients: number[]}> {
  CHUNK.logits = positions * model.outputs[0]!.shape[2]!;
  const optimizer = new KeptGradients();
  compileModel(model, {...options, optimizer});
  const logged = [await model.trainOnBatch(xs, ys)].flat();
  optimizer.dispose();
  const evaluated = tf.tidy(() => [model.evaluate(xs, ys)].flat().map(each => numbers(each)[0]!));
  return {values: [...logged, ...evaluated], gradients: [...optimizer.values.values()].flat()};
}

/** Gives all that trains values other than those of the start. */
function stir(model: tf.LayersModel): void {
  model.trainableWeights.forEach((weight, i) => {
    const value = tf.tidy(() => tf.add(weight.read(), tf.mul(random(weight.shape as number[], i + 1), 0.1)));
    weight.write(value);
    value.dispose();
  });
}

async function expectSame(model: tf.LayersModel, options: Options, batch = batchFor(model)): Promise<void> {
  const whole = await stepOf(model, batch, options, 1000);
  expect(whole.values[0]).toBeGreaterThan(0);
  expect(whole.gradients.some(value => Math.abs(value) > 1e-4)).toBe(true);
  for (const positions of [1, 3, 5]) {
    await withoutLeaks(async () => {
      const {values, gradients} = await stepOf(model, batch, options, positions);
      expect(values).toBeAllClose(whole.values, {rtol: 1e-5, atol: 1e-6});
      expect(gradients).toBeAllClose(whole.gradients, {rtol: 1e-4, atol: 1e-6});
    });
  }
  tf.dispose([batch.xs, batch.ys]);
}

const load = async (name: string) => {
  const {config, weights} = fixture(name);
  return (await loadTransformer({config, weights})).model;
};

const ADAPTED = [/q_proj$/, 'lm_head'];
const HEADS: [string, string, Parameters<typeof applyLoRA>[1] | null][] = [
  ['a frozen tied', 'llamaTied', {targets: [/q_proj$/]}],
  ['an adapted tied', 'llamaTied', {targets: ADAPTED}],
  ['an adapted', 'llama', {rank: 2, targets: ADAPTED}],
  ['only an adapted', 'llama', {rank: 2, targets: ['lm_head']}],
  ['a DoRA-adapted', 'llama', {rank: 2, targets: ADAPTED, method: 'dora'}],
  ['an IA³-adapted tied', 'llamaTied', {targets: ADAPTED, method: 'ia3'}],
  ['a trained', 'llama', {rank: 2, targets: [/q_proj$/], trainInFull: ['lm_head']}],
  ['a tied and trained', 'llamaTied', {rank: 2, targets: [/q_proj$/], trainInFull: [/embed_tokens$/]}],
  ['a scaled', 'granite', {rank: 2, targets: ADAPTED}],
  ['a capped', 'gemma2Tied', {rank: 2, targets: [/q_proj$/]}],
  ['an unadapted', 'llama', null],
];

test.each(HEADS)('%s head has the same loss and gradients in chunks', async (_, name, options) => {
  const base = await load(name);
  const model = options === null ? base : applyLoRA(base, {seed: 1, ...options});
  stir(model);
  await expectSame(model, {});
  new Set([model, base]).forEach(disposeModel);
});

test('a step has smaller chunks of logits than an evaluation, by what it has saved for the backward pass', () => {
  const [positions, classes] = [64, 2 ** 16];
  const chunks: number[] = [];
  const apply = (x: tf.Tensor3D) => {
    chunks.push(x.shape[1]);
    return tf.tile(x, [1, 1, classes]);
  };
  const head = {apply, classes, leastPositions: 1, dropouts: []};
  const sumsOf = (logits: tf.Tensor) => tf.reshape<tf.Rank.R2>(tf.sum(logits), [1, 1]);
  const x = tf.variable(tf.ones([1, positions, 1]));
  /** Computes the sum of all logits after an operation that saves so many values. */
  const computed = (saved: number) => {
    const size = saved / 64;
    const large = tf.mean(tf.square(tf.mul(tf.reshape(x, [64, 1]), tf.ones([1, size]))));
    return tf.add<tf.Scalar>(
      sumsInChunks(head, x as unknown as tf.Tensor3D, {perPosition: {}, sumsOf}).sums.asScalar(),
      large,
    );
  };
  tf.tidy(() => computed(64));
  expect(chunks.splice(0)).toEqual([64]); // 2²² logits are few for an evaluation
  tf.tidy(() => tf.variableGrads(() => computed(64)));
  expect(chunks.splice(0)).toEqual([32, 32]); // never fewer than 2²¹ logits
  tf.tidy(() => tf.variableGrads(() => computed(4 * 2 ** 22)));
  expect(chunks.splice(0)).toEqual([64]); // the logits are a quarter of what is saved
  x.dispose();
});

test.each([true, false])('quantized heads have the same loss and gradients in chunks (adapted: %s)', async adapted => {
  const {model: base} = await loadGGUF(fileOf('llama'), {quantized: true});
  const model = applyLoRA(base, {rank: 2, seed: 1, targets: adapted ? 'linear' : [/q_proj$/]});
  stir(model);
  await expectSame(model, {});
});

describe('with options', () => {
  let [base, model]: tf.LayersModel[] = [];
  beforeAll(async () => {
    base = await load('llamaTied');
    model = applyLoRA(base, {rank: 2, seed: 1, targets: [/q_proj$/, 'lm_head']});
    stir(model);
  });

  test.each<[string, Options]>([
    ['label smoothing', {labelSmoothing: 0.1}],
    ['focal loss', {focalGamma: 2}],
    ['another ignored target', {ignoreIndex: 1}],
    ['metrics', {metrics: ['accuracy', accuracy({topK: 3}), f1Score(), 'perplexity']}],
    ['class weights', {classWeights: Array.from({length: 13}, (_, i) => i % 3), labelSmoothing: 0.1}],
    ['an own metric among others', {metrics: ['acc', (_, logits) => tf.max(logits), 'perplexity']}],
  ])('chunks compute the same: %s', async (_, options) => {
    const batch = batchFor(model!);
    if (options.ignoreIndex === 1) {
      batch.ys = tf.tidy(() => tf.where(tf.less(batch.ys, 0), 1, batch.ys));
    }
    await expectSame(model!, options, batch);
  });

  test.each([
    ['examples', [ROWS]],
    ['positions', [ROWS, POSITIONS]],
  ])('chunks compute the same with weights of %s', async (_, shape) => {
    const {xs, ys} = batchFor(model!);
    const weights = tf.tidy(() => tf.abs(random(shape, 3)));
    await expectSame(model!, {weighted: true, metrics: ['acc']}, {xs, ys: withSampleWeights(ys, weights)});
  });

  test('neither training nor evaluation makes the logits of all positions', async () => {
    const {xs, ys} = batchFor(model!);
    const vocabulary = model!.outputs[0]!.shape[2]!;
    /** The most positions that kernels compute logits of. */
    const mostOf = async (f: () => Promise<tf.TensorContainer>) => {
      const {kernels} = await tf.profile(async () => {
        tf.dispose(await f());
        return tf.scalar(0);
      });
      const shapes = kernels.flatMap(({outputShapes}) => outputShapes);
      return Math.max(
        ...shapes.filter(shape => shape.at(-1) === vocabulary).map(shape => tf.util.sizeFromShape(shape) / vocabulary),
      );
    };
    const optimizer = tf.train.sgd(0.1);
    compileModel(model!, {optimizer, metrics: ['accuracy', 'perplexity']});
    const evaluate = () => Promise.resolve(model!.evaluate(xs, ys));
    expect(await mostOf(evaluate)).toBe(ROWS * POSITIONS);
    CHUNK.logits = 5 * vocabulary;
    expect(await mostOf(evaluate)).toBe(5);
    // The factors of the head have a column for each token.
    expect(await mostOf(() => model!.trainOnBatch(xs, ys) as never)).toBeLessThan(8);
    // Another loss, compiled by tfjs, is called with logits again.
    let seen: number[] = [];
    model!.compile({optimizer, loss: (_, logits) => ((seen = logits.shape), tf.mean(logits))});
    await model!.trainOnBatch(xs, tf.ones([ROWS, POSITIONS, vocabulary]));
    expect(seen).toEqual([ROWS, POSITIONS, vocabulary]);
  });
});

describe('log-probabilities of sequences', () => {
  let base: tf.LayersModel;
  beforeAll(async () => {
    base = await load('llamaTied');
  });

  const TARGETS = Array.from({length: 4 * POSITIONS}, (_, i) => (7 * i + 1) % 13);

  /** The sums of two groups of positions, and the gradient of something computed from them. */
  function compute(model: tf.LayersModel, states: tf.Variable<tf.Rank.R3>): number[] {
    return tf.tidy(() => {
      const position = tf.range(0, POSITIONS);
      const targets = tf.tensor2d(TARGETS, [4, POSITIONS]);
      const first = tf.where(tf.less(position, 3), targets, -100);
      const second = tf.where(tf.less(position, 4), -100, targets);
      const variables = [states, ...model.trainableWeights.map(weight => weight.read() as tf.Variable)];
      const {value, grads} = tf.variableGrads(() => {
        const [one, other] = sequenceLogProbs([first, second], states, outputHead(model)) as [tf.Tensor, tf.Tensor];
        return tf.mean(tf.add(tf.square(one), tf.mul(other, tf.tensor1d([1, -2, 0, 0.5]))));
      }, variables);
      return [value, ...variables.map(({name}) => grads[name]!)].flatMap(each => numbers(each));
    });
  }

  test.each([true, false])('are the same in chunks, with their gradients (adapted head: %s)', async adapted => {
    const model = adapted ? applyLoRA(base, {rank: 2, seed: 1, targets: ['lm_head']}) : base;
    model.trainable = adapted;
    stir(model);
    const states = tf.variable(random<tf.Rank.R3>([4, POSITIONS, 8], 5));
    const whole = compute(model, states);
    for (const positions of [1, 5, POSITIONS, 2 * POSITIONS, 3 * POSITIONS]) {
      CHUNK.logits = positions * 13;
      await withoutLeaks(() => expect(compute(model, states)).toBeAllClose(whole, {rtol: 1e-4, atol: 1e-5}));
    }
    states.dispose();
    if (adapted) {
      disposeModel(model);
    }
    base.trainable = true;
  });

  test('gradients computed later have the masks of dropout of the forward pass', () => {
    const model = applyLoRA(base, {rank: 2, seed: 1, targets: ['lm_head'], dropout: 0.4});
    stir(model);
    const {dropout, update} = model.getLayer('lm_head') as LoRALayer;
    const states = tf.variable(random<tf.Rank.R3>([4, POSITIONS, 8], 5));
    const b = [...update.variables().values()].at(-1)!;
    CHUNK.logits = 5 * 13;
    const at = (change: number) => {
      dropout.step = 0;
      const former = b.read().clone();
      b.write(
        tf.tidy(() => tf.add(former, tf.oneHot(tf.scalar(0, 'int32'), former.size).reshape(former.shape).mul(change))),
      );
      const values = compute(model, states);
      b.write(former);
      former.dispose();
      return values;
    };
    const slope = (at(1e-2)[0]! - at(-1e-2)[0]!) / 2e-2;
    const values = at(0);
    expect(dropout.step).toBe(8);
    expect(values[values.length - b.read().size]).toBeCloseTo(slope, 2);
  });
});
