import {readFileSync} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import '../../../src/node'; // reads folders
import {adam, applyLoRA, checkpoint, compileModel, disposeModel, resume} from 'tfjs-lora';
import {encodePairs, loadTransformer, type TextPair, type Tokenizer} from 'tfjs-lora/transformers';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {MemoryHandler} from '../../models';
import {fixture} from './fixtures';

/** What sentence-transformers computed: `test/python/make_ranking.py`. */
interface Ranking extends Record<
  'pairsAlone' | 'negatives' | 'scaled',
  {
    loss: number;
    gradients: Record<string, number[]>;
  }
> {
  pairs: [string, string, ...string[]][];
  factors: Record<string, {shape: [number, number]; values: number[]}>;
  curve: number[];
}

const RANKING = JSON.parse(readFileSync('test/fixtures/ranking.json', 'utf8')) as Ranking;
const PAIRS: TextPair[] = RANKING.pairs.map(([anchor, positive, ...negative]) => ({anchor, positive, negative}));
const ALONE = PAIRS.map(({anchor, positive}) => ({anchor, positive}));

let base: tf.LayersModel;
let tokenizer: Tokenizer;
beforeAll(async () => {
  await useBackend('cpu');
  ({model: base, tokenizer} = await loadTransformer('test/fixtures/sentences/mean', {pooling: 'mean'}));
});

/** The name of a factor in PEFT. */
const nameOf = ({originalName}: tf.LayerVariable) => originalName.replaceAll('/', '.');

/** The model with the factors of the fixture. */
function adapted(): tf.LayersModel {
  const model = applyLoRA(base, {rank: 2, alpha: 4, targets: ['query', 'value']});
  for (const weight of model.trainableWeights) {
    const {shape, values} = RANKING.factors[nameOf(weight)]!;
    tf.tidy(() => void weight.write(tf.transpose(tf.tensor2d(values, shape))));
  }
  return model;
}

test.each([
  ['pairsAlone', ALONE, {}],
  ['negatives', PAIRS, {}],
  ['scaled', PAIRS, {scale: 5}],
] as const)('the loss and the gradients of %s are those of sentence-transformers', async (name, pairs, options) => {
  const {loss, gradients} = RANKING[name];
  await withoutLeaks(async () => {
    const model = adapted();
    compileModel(model, {optimizer: tf.train.sgd(1), loss: 'ranking', ...options});
    const before = model.trainableWeights.map(weight => numbers(weight.read()));
    const {history} = await model.fitDataset(await encodePairs(model, tokenizer, pairs), {epochs: 1, verbose: 0});
    expect(history.loss![0]).toBeCloseTo(loss, 5);
    model.trainableWeights.forEach((weight, i) => {
      const {shape} = RANKING.factors[nameOf(weight)]!;
      const expected = tf.tidy(() => numbers(tf.transpose(tf.tensor2d(gradients[nameOf(weight)]!, shape))));
      const after = numbers(weight.read());
      // With a rate of 1, a step subtracts the gradient.
      expect(before[i]!.map((value, j) => value - after[j]!)).toBeAllClose(expected, {rtol: 1e-4, atol: 2e-6});
    });
    model.optimizer.dispose();
    disposeModel(model);
  });
});

test('20 steps follow the curve of sentence-transformers', async () => {
  const model = adapted();
  compileModel(model, {optimizer: adam({learningRate: 0.02, epsilon: 1e-8}), loss: 'ranking'});
  const data = await encodePairs(model, tokenizer, PAIRS);
  const {history} = await model.fitDataset(data, {epochs: 20, verbose: 0});
  expect(history.loss).toBeAllClose(RANKING.curve, {rtol: 1e-3, atol: 0});
  disposeModel(model);
});

test('a batch has its anchors, their positives, then any number of negatives', async () => {
  await withoutLeaks(async () => {
    const pairs = [
      {anchor: 'cat', positive: 'dog', negative: 'mat'},
      {anchor: 'cat', positive: 'dog'},
      {anchor: 'cat', positive: 'dog', negative: ['mat', 'home']},
    ];
    const data = await encodePairs(base, tokenizer, pairs, {padToMultipleOf: 1});
    expect(data.size).toBe(1);
    await data.forEachAsync(({xs, ys}) => {
      const [ids, mask] = xs as [tf.Tensor2D, tf.Tensor2D];
      const texts = ids.arraySync().map(row => tokenizer.decode(row, {skip_special_tokens: true}));
      expect(texts.slice(0, 6)).toEqual(['cat', 'cat', 'cat', 'dog', 'dog', 'dog']);
      expect(texts.slice(6).sort()).toEqual(['home', 'mat', 'mat']);
      expect(mask.shape).toEqual([9, 3]);
      const own = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]; // prettier-ignore
      const none = [0, 0, 0];
      expect((ys as tf.Tensor2D).arraySync()).toEqual([none, none, none, ...own, none, none, none]);
      tf.dispose([ids, mask, ys]);
    });
  });
});

test('a run goes on where it ended, with the same losses', async () => {
  const losses = async (epochs: number, file: MemoryHandler, goesOn = false) => {
    const model = adapted();
    compileModel(model, {optimizer: adam({learningRate: 0.02}), loss: 'ranking'});
    const batches = await encodePairs(model, tokenizer, PAIRS, {batchSize: 2, seed: 1});
    const run = goesOn ? await resume(model, file, {batches}) : {};
    const callbacks = [checkpoint(file, {batches})];
    const {history} = await model.fitDataset(batches, {epochs, verbose: 0, callbacks, ...run});
    disposeModel(model);
    return history.loss as number[];
  };
  const expected = await losses(3, new MemoryHandler());
  const file = new MemoryHandler();
  expect([...(await losses(1, file)), ...(await losses(3, file, true))]).toEqual(expected);
});

test('errors name the record and its field', async () => {
  const encode = (records: unknown, options = {}) => encodePairs(base, tokenizer, records as TextPair[], options);
  await expect(encode([{anchor: 'a', positive: 'b'}, {anchor: 1, negative: ['a', 2]}, 'x'])).rejects.toThrow(
    [
      'Record 1: anchor must be a string, got a number.',
      'Record 1: positive must be a string, got undefined.',
      'Record 1: negative must be a string or a list of strings, got an array.',
      "Record 2 must be an object such as {anchor: 'a question', positive: 'its answer'}, got a string.",
    ].join('\n'),
  );
  await expect(encode([])).rejects.toThrow('records must be a list');
  await expect(encode([{anchor: 'a', positive: 'b'}])).rejects.toThrow('nothing to tell apart');
  await expect(encode(PAIRS, {batchSize: 0})).rejects.toThrow('batchSize must be a whole number');
  const {config, weights} = fixture('bert');
  const {model: states} = await loadTransformer({config, weights, tokenizer: false});
  await expect(encodePairs(states, tokenizer, PAIRS)).rejects.toThrow("loadTransformer(folder, {pooling: 'mean'})");
  const {model: classifier} = await loadTransformer({config, weights, tokenizer: false, labels: 2});
  await expect(encodePairs(classifier, tokenizer, PAIRS)).rejects.toThrow('is no embedding of a text');
});

test('the scale is a positive number, of this loss alone', () => {
  const compile = (options: object) => () => compileModel(base, {optimizer: 'sgd', ...options});
  expect(compile({loss: 'ranking', scale: 0})).toThrow('scale must be a positive number, got 0.');
  expect(compile({loss: 'pairs', scale: 2})).toThrow('scale does not apply to the loss "pairs".');
});
