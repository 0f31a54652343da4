import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, disposeModel, fitOnFeatures} from 'tfjs-lora';
import {embed, encodeTexts, loadTransformer, type Tokenizer as TextTokenizer} from 'tfjs-lora/transformers';
import {Tokenizer} from '@huggingface/tokenizers';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {fixture, wordTokenizer} from './fixtures';

/** A token for each letter, between 1 and 2. */
const letters: Pick<TextTokenizer, 'encode'> = {
  encode: (text, {text_pair: pair} = {}) => {
    const numbersOf = (part: string) => Array.from(part, letter => letter.charCodeAt(0) - 87); // a is 10
    const first = [1, ...numbersOf(text), 2];
    const second = pair == null ? [] : [...numbersOf(pair), 2];
    return {ids: [...first, ...second], token_type_ids: [...first.map(() => 0), ...second.map(() => 1)]};
  },
};

let model: tf.LayersModel;

beforeAll(async () => {
  await useBackend('cpu');
  const {config, weights} = fixture('bert');
  ({model} = await loadTransformer({config, weights}));
});

describe('texts', () => {
  test('are filled up behind their tokens, and masked', () => {
    const {inputIds, attentionMask, tokenTypeIds} = encodeTexts(model, letters, ['abc', 'a', ['a', 'bc']], {
      padTokenId: 9,
    });
    expect(inputIds.arraySync()).toEqual([
      [1, 10, 11, 12, 2, 9],
      [1, 10, 2, 9, 9, 9],
      [1, 10, 2, 11, 12, 2],
    ]);
    expect(attentionMask.arraySync()).toEqual([
      [1, 1, 1, 1, 1, 0],
      [1, 1, 1, 0, 0, 0],
      [1, 1, 1, 1, 1, 1],
    ]);
    expect(tokenTypeIds.arraySync()[2]).toEqual([0, 0, 0, 1, 1, 1]);
    expect(inputIds.dtype).toBe('int32');
  });

  test('are cut so that the last token stays', () => {
    expect(encodeTexts(model, letters, ['abcdef'], {maxLength: 4}).inputIds.arraySync()).toEqual([[1, 10, 11, 2]]);
    expect(encodeTexts(model, letters, ['abcdef', 'a'], {padToLength: 3}).inputIds.arraySync()).toEqual([
      [1, 10, 2],
      [1, 10, 2],
    ]);
  });

  test('are filled up to a multiple', () => {
    expect(encodeTexts(model, letters, ['abc'], {padToMultipleOf: 8}).inputIds.shape).toEqual([1, 8]);
    // The model has 20 positions.
    expect(encodeTexts(model, letters, ['a'.repeat(16)], {padToMultipleOf: 8}).inputIds.shape).toEqual([1, 20]);
  });

  test('come from the tokenizer of the hub too', () => {
    const tokenizer = new Tokenizer(wordTokenizer(['[UNK]', 'good', 'day']), {
      tokenizer_class: 'PreTrainedTokenizerFast',
      unk_token: '[UNK]',
    });

    expect(encodeTexts(model, tokenizer, ['Good day', 'other']).inputIds.arraySync()).toEqual([
      [1, 2],
      [0, 0],
    ]);
  });

  test.each<[() => unknown, RegExp]>([
    [() => encodeTexts(model, {} as Tokenizer, ['a']), /tokenizer must have a function encode/],
    [() => encodeTexts(model, letters, []), /texts must be a list of texts, got an empty one/],
    [
      () => encodeTexts(model, letters, ['a', 3 as unknown as string]),
      /Text 1 must be a string or a pair of strings, got a number/,
    ],
    [() => encodeTexts(model, letters, ['a'], {maxLength: 0}), /maxLength must be a positive integer, got 0/],
    [
      () => encodeTexts(model, letters, ['a'], {padTokenId: 61}),
      /padTokenId must be a token id of the model, from 0 to 60/,
    ],
    [() => encodeTexts(model, letters, ['a'], {padToLength: 21}), /padToLength is 21, but the model has 20 positions/],
    [() => encodeTexts(model, {encode: () => ({ids: [61]})}, ['a']), /returns the id 61, but the model has 61 tokens/],
  ])('that cannot be encoded are refused: %s', async (encode, message) => {
    await withoutLeaks(() => {
      expect(encode).toThrow(message);
    });
  });
});

describe('embeddings', () => {
  const embedded = async (...args: Parameters<typeof embed>) => {
    const vectors = await embed(...args);
    const values = vectors.arraySync();
    vectors.dispose();
    return values;
  };

  test('are the means of states over the tokens of a text, whatever the other rows are', async () => {
    const {config, weights} = fixture('bert');
    await withoutLeaks(async () => {
      const {model: pooled} = await loadTransformer({config, weights, pooling: 'mean'});
      const texts = ['abc', 'abcdefgh', '', 'b'];
      const all = await embedded(model, letters, texts, {normalize: false, batchSize: 3});
      for (const [i, text] of texts.entries()) {
        expect(all[i]!).toBeAllClose((await embedded(model, letters, [text], {normalize: false}))[0]!);
      }
      expect((await embedded(pooled, letters, texts, {normalize: false})).flat()).toBeAllClose(all.flat());
      const lengths = (await embedded(model, letters, texts)).map(vector => Math.hypot(...vector));
      expect(lengths).toBeAllClose([1, 1, 1, 1]);
      disposeModel(pooled);
    });
  });

  test('of texts longer than the position embedding are those of the texts cut', async () => {
    const [long, cut] = await embedded(model, letters, ['a'.repeat(100), 'a'.repeat(18)]);
    expect(long!).toBeAllClose(cut!);
  });

  test('report how many texts are done, and leave nothing if they are aborted', async () => {
    await withoutLeaks(async () => {
      const controller = new AbortController();
      const reports: number[] = [];
      const texts = ['a', 'b', 'c', 'd', 'e'];
      const onProgress = ({done, total}: {done: number; total: number}) => {
        expect(total).toBe(5);
        reports.push(done);
      };
      await embedded(model, letters, texts, {batchSize: 2, onProgress});
      expect(reports).toEqual([0, 2, 4, 5]);
      const abort = ({done}: {done: number}) => done === 4 && controller.abort();
      const aborted = embed(model, letters, texts, {batchSize: 2, signal: controller.signal, onProgress: abort});
      await expect(aborted).rejects.toMatchObject({code: 'ERR_ABORTED'});
    });
  });

  test('are refused for a tokenizer of another model', async () => {
    await withoutLeaks(async () => {
      const foreign: Pick<TextTokenizer, 'encode'> = {encode: () => ({ids: [61]})};
      await expect(embed(model, foreign, ['a'])).rejects.toThrow(/returns the id 61, but the model has 61 tokens/);
      await expect(embed(model, letters, ['a'], {batchSize: 0})).rejects.toThrow('batchSize must be a whole number');
    });
  });
});

describe('a model that is compiled for targets that are numbers', () => {
  test.each([
    ['classes of texts', 'bertClasses', [2, 0, 1]],
    ['tokens at each position', 'gpt2', [5, 6, 7, -100, 5, 6, 7, 5, 6, 7, 8, 9, 1, 2, -100, 5, 5, 5, 5, 5, 5]],
  ])('learns %s', async (_, name, targets) => {
    const {config, weights, expected} = fixture(name);
    const {model: base} = await loadTransformer({config, weights});
    const model = applyLoRA(base, {rank: 4, seed: 1});
    const optimizer = adam({learningRate: 0.02});
    compileModel(model, {optimizer});
    const inputs = [tf.tensor2d(expected.ids, undefined, 'int32'), tf.tensor2d(expected.mask)];
    const labels = name === 'gpt2' ? tf.tensor2d(targets, [3, 7]) : tf.tensor1d(targets);
    const {history} = await model.fit(inputs, labels, {epochs: 12, verbose: 0});
    const losses = history.loss as number[];
    expect(losses.at(-1)).toBeLessThan(losses[0]! / 2);
  });

  test('may be sequential, and learns on features too', async () => {
    const make = () => {
      const model = tf.sequential();
      model.add(tf.layers.dense({units: 4, inputShape: [2], name: 'body', kernelInitializer: 'ones'}));
      model.add(tf.layers.dense({units: 3, name: 'head', kernelInitializer: 'zeros'}));
      return model;
    };
    const inputs = tf.tensor2d([1, 2, 3, 4, 5, 6, 7, 8], [4, 2]);
    const labels = tf.tensor1d([2, 0, 1, 2]);
    const plain = make();
    compileModel(plain, {optimizer: 'sgd'});
    const history = await plain.fit(inputs, labels, {epochs: 2, batchSize: 4, verbose: 0, shuffle: false});
    expect(history.history.loss![0]).toBeCloseTo(Math.log(3), 5); // all three classes are as likely
    expect(numbers(plain.evaluate(inputs, labels, {batchSize: 4}) as tf.Scalar)[0]).toBeLessThan(Math.log(3));
    const [base, other] = [make(), make()];
    const [one, two] = [base, other].map(model => applyLoRA(model, {rank: 2, targets: ['head'], seed: 1}));
    const losses = async (fit: () => Promise<tf.History>) => (await fit()).history.loss as number[];
    const args = {epochs: 3, batchSize: 4, verbose: 0 as const, shuffle: false};
    [one, two].forEach(model => compileModel(model!, {optimizer: tf.train.sgd(0.1)}));
    const onFeatures = await losses(() => fitOnFeatures(one!, inputs, labels, args));
    expect(onFeatures).toBeAllClose(await losses(() => two!.fit(inputs, labels, args)));
    expect(onFeatures[0]).toBeCloseTo(Math.log(3), 5);
  });

  test('refuses a target that is no class, and no weight moves', async () => {
    const model = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [2]})]});
    compileModel(model, {optimizer: tf.train.sgd(1)});
    const before = model.getWeights().map(weight => numbers(weight));
    const inputs = tf.ones([2, 2]);
    for (const target of [3, 0.5, NaN]) {
      const labels = tf.tensor1d([0, target]);
      await expect(model.fit(inputs, labels, {verbose: 0})).rejects.toThrow(`is ${target}. It must be a class index`);
      labels.dispose();
    }
    expect(model.getWeights().map(weight => numbers(weight))).toEqual(before);
  });

  test('must have one output of logits', async () => {
    const {config, weights} = fixture('bert');
    const {model} = await loadTransformer({config, weights});
    expect(() => compileModel(model, {optimizer: 'sgd', ignored: 3} as never)).toThrow(/no option "ignored"/);
    const two = tf.model({inputs: model.inputs, outputs: [model.outputs[0]!, model.outputs[0]!]});
    expect(() => compileModel(two, {optimizer: 'sgd'})).toThrow(/must have one output of logits/);
    expect(() => compileModel(model, {optimizer: 'sgd', loss: 'pairs'})).toThrow(/one output of similarities/);
    expect(() => compileModel(model, {optimizer: 'sgd', loss: 'mse' as 'spans'})).toThrow(
      'loss must be a function, one of "crossEntropy", "ctc", "spans", "pairs", "sigmoidPairs", "ranking", or one of Keras: ' +
        'meanSquaredError',
    );
  });
});
