import {cpSync, readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import '../../../src/node'; // reads folders
import {applyLoRA, disposeModel, mergeLoRA, replaceHead} from 'tfjs-lora';
import {addTokens, embed, loadTransformer, type LoadedTransformer} from 'tfjs-lora/transformers';
import {useBackend, withoutLeaks} from '../../helpers';
import {reloaded} from '../../models';
import {temporaryFolder} from '../../temporaryFolder';
import {fixture} from './fixtures';

/** Sentence-transformers that sentence-transformers wrote, and the vectors that it computes with them. */
const FOLDER = 'test/fixtures/sentences';
const NAMES = readdirSync(FOLDER).filter(name => name !== 'layerNorm');

interface Expected {
  texts: string[];
  vectors: number[][];
}

function expectedOf(name: string): Expected {
  return JSON.parse(readFileSync(join(FOLDER, name, 'expected.json'), 'utf8')) as Expected;
}

async function vectorsOf(
  {model, tokenizer}: Pick<LoadedTransformer, 'model' | 'tokenizer'>,
  texts: readonly string[],
  options: Parameters<typeof embed>[3] = {},
): Promise<number[][]> {
  const vectors = await embed(model, tokenizer, texts, options);
  const values = vectors.arraySync();
  vectors.dispose();
  return values;
}

function normalized(vectors: readonly number[][]): number[][] {
  return vectors.map(vector => vector.map(value => value / Math.hypot(...vector)));
}

let copy: string;
beforeEach(() => (copy = temporaryFolder()));

/** A copy of a folder with some files changed. */
function changed(name: string, files: Readonly<Record<string, object>>): string {
  cpSync(join(FOLDER, name), copy, {recursive: true});
  for (const [path, content] of Object.entries(files)) {
    writeFileSync(join(copy, path), JSON.stringify(content));
  }
  return copy;
}

test('there is a model of each kind', () => {
  expect(NAMES.length).toBeGreaterThanOrEqual(13);
});

test.each(NAMES)('the vectors of %s are those of sentence-transformers', async name => {
  const {texts, vectors} = expectedOf(name);
  await withoutLeaks(async () => {
    const loaded = await loadTransformer(join(FOLDER, name));
    const isUnit = vectors.every(vector => Math.abs(Math.hypot(...vector) - 1) < 1e-5);
    expect((await vectorsOf(loaded, texts)).flat()).toBeAllClose(normalized(vectors).flat(), {
      atol: 2e-6,
      rtol: 2e-5,
    });
    if (!isUnit) {
      const raw = await vectorsOf(loaded, texts, {normalize: false, batchSize: 2});
      expect(raw.flat()).toBeAllClose(vectors.flat(), {atol: 3e-6, rtol: 2e-5});
    }
    disposeModel(loaded.model);
  });
});

describe('the modules of a folder', () => {
  beforeAll(() => useBackend('cpu'));
  const {texts, vectors} = expectedOf('dense');
  test('apply to models that come of the model, with the weights of Dense', async () => {
    const {model, tokenizer} = await loadTransformer(join(FOLDER, 'dense'));
    const adapted = applyLoRA(model, {rank: 2});
    const merged = mergeLoRA(adapted);
    const larger = addTokens(model, tokenizer, ['new']);
    for (const each of [adapted, merged]) {
      expect((await vectorsOf({model: each, tokenizer}, texts)).flat()).toBeAllClose(vectors.flat(), {atol: 2e-6});
    }
    const grown = await vectorsOf({model: larger.model, tokenizer}, texts);
    expect(grown.flat()).toBeAllClose(vectors.flat(), {atol: 2e-6});
  });

  test('are kept in a model that tfjs saved, but for the weights of Dense, without which it refuses', async () => {
    for (const name of ['joined', 'dense']) {
      const {texts, vectors} = expectedOf(name);
      const {model, tokenizer} = await loadTransformer(join(FOLDER, name));
      const again = await reloaded(model);
      await withoutLeaks(async () => {
        const call = vectorsOf({model: again, tokenizer}, texts, {normalize: false});
        if (name === 'joined') {
          expect((await call).flat()).toBeAllClose(vectors.flat(), {atol: 2e-6});
        } else {
          await expect(call).rejects.toMatchObject({code: 'ERR_MISFIT'});
          await expect(call).rejects.toThrow(
            'The model\'s vectors need the tensor "2_Dense/linear.weight" of its folder, which a model that tfjs saved',
          );
          expect(await vectorsOf({model: again, tokenizer}, texts, {pooling: 'mean'})).toHaveLength(texts.length);
        }
      });
    }
  });

  test('give way to a pooling that is chosen, in embed or when the model is loaded', async () => {
    const mean = expectedOf('mean');
    const {model, tokenizer} = await loadTransformer(join(FOLDER, 'mean'));
    const first = await vectorsOf({model, tokenizer}, mean.texts, {pooling: 'first', normalize: false});
    expect(first.flat()).toBeAllClose(expectedOf('cls').vectors.flat(), {atol: 2e-6});
    const last = await loadTransformer(join(FOLDER, 'mean'), {pooling: 'last'});
    const vectors = await vectorsOf(last, mean.texts, {normalize: false});
    expect(vectors.flat()).toBeAllClose(expectedOf('lasttoken').vectors.flat(), {atol: 2e-6});
    expect((await vectorsOf(last, mean.texts, {maxLength: 3})).flat()).not.toBeAllClose(normalized(vectors).flat());
    await expect(vectorsOf(last, mean.texts, {pooling: 'mean'})).rejects.toThrow(
      'pooling does not apply: the model returns vectors, [null, 8].',
    );
    await expect(vectorsOf({model, tokenizer}, mean.texts, {pooling: 'sum' as 'mean'})).rejects.toThrow(
      'pooling must be one of "mean", "first", "last", "max", "meanSqrtLength", "weightedMean", got "sum".',
    );
  });

  test('do not apply to a new head', async () => {
    const {model, tokenizer} = await loadTransformer(join(FOLDER, 'dense'));
    const headed = replaceHead(model, [tf.layers.dense({units: 3, name: 'mine'})], {after: model.layers.at(-1)!.name});
    expect((await vectorsOf({model: headed, tokenizer}, ['a'], {}))[0]).toHaveLength(3);
  });

  const pooling = 'sentence_transformers.models.Pooling';
  const module = (type: string, path: string) => ({idx: 1, name: '1', path, type});
  const FAULTS: [what: string, name: string, files: Record<string, object>, message: string][] = [
    ['another module', 'layerNorm', {}, 'modules.json has a module "LayerNorm". Supported are Transformer, Pooling'],
    ['no list', 'mean', {'modules.json': {}}, 'modules.json is not a list.'],
    [
      'a path out of the folder',
      'mean',
      {'modules.json': [module(pooling, '../1_Pooling')]},
      'has the path "../1_Pooling"',
    ],
    [
      'no pooling',
      'mean',
      {'modules.json': [module('x.Normalize', '1_Pooling')]},
      'has no Pooling right after the Transformer.',
    ],
    [
      'an unknown pooling',
      'mean',
      {'1_Pooling/config.json': {embedding_dimension: 8, pooling_mode: 'median'}},
      'pooling_mode is ["median"]',
    ],
    [
      'a pooling without a width',
      'mean',
      {'1_Pooling/config.json': {}},
      'word_embedding_dimension must be a positive integer',
    ],
    [
      'an activation that is not of PyTorch',
      'dense',
      {'2_Dense/config.json': {in_features: 8, out_features: 6, activation_function: 'mine.Sine'}},
      'activation_function is "mine.Sine"; known are Identity, Tanh,',
    ],
    [
      'a Dense on the states of tokens',
      'dense',
      {'2_Dense/config.json': {in_features: 8, out_features: 6, module_input_name: 'token_embeddings'}},
      'module_input_name is "token_embeddings", which is not supported.',
    ],
    [
      'weights of another size',
      'dense',
      {'2_Dense/config.json': {in_features: 8, out_features: 7}},
      '2_Dense/model.safetensors must have "linear.weight" of shape [7, 8].',
    ],
    [
      'modules that do not fit each other',
      'twoDense',
      {'1_Pooling/config.json': {embedding_dimension: 8, pooling_mode: ['cls', 'mean']}},
      '2_Dense takes 8 values, but the module before it gives 16.',
    ],
  ];

  test.each(FAULTS)(
    'that cannot be applied do not keep a model from being loaded: %s',
    async (_, name, files, message) => {
      const loaded = await loadTransformer(changed(name, files));
      await withoutLeaks(async () => {
        const call = vectorsOf(loaded, ['a cat']);
        await expect(call).rejects.toMatchObject({code: 'ERR_UNSUPPORTED'});
        await expect(call).rejects.toThrow(message);
        await expect(call).rejects.toThrow("Choose a pooling yourself: {pooling: 'mean'}.");
      });
      expect(await vectorsOf(loaded, ['a cat'], {pooling: 'mean'})).toHaveLength(1);
    },
  );

  test('of another width than the states are refused, and so is a record that was changed', async () => {
    const {model, tokenizer} = await loadTransformer(
      changed('mean', {'1_Pooling/config.json': {embedding_dimension: 9}}),
    );
    await expect(vectorsOf({model, tokenizer}, ['a'])).rejects.toThrow(
      'that its states have width 9, but they have 8.',
    );
    const {hub} = model.getUserDefinedMetadata() as {hub: {sentence: object}};
    for (const sentence of [3, {steps: [{kind: 'pooling', modes: ['sum'], width: 8}]}, {steps: [], maxLength: 1}]) {
      Object.assign(hub, {sentence});
      await expect(vectorsOf({model, tokenizer}, ['a'])).rejects.toThrow(/is damaged|has no Pooling/);
    }
  });
});

describe('the output of a classifier', () => {
  beforeAll(() => useBackend('cpu'));
  const letters = {encode: () => ({ids: [1, 10, 2]})};

  test.each(['bertClasses', 'bertTokenClasses', 'bertTiedWords', 'bertSpans', 'gpt2TiedHead'])(
    'is no embedding: %s',
    async name => {
      const {config, weights} = fixture(name);
      const {model} = await loadTransformer({config, weights, tokenizer: false});
      const adapted = applyLoRA(model, {rank: 2, targets: [/query|c_attn/]});
      await withoutLeaks(async () => {
        for (const each of [model, adapted]) {
          await expect(embed(each, letters, ['a'])).rejects.toMatchObject({code: 'ERR_MISFIT'});
          await expect(embed(each, letters, ['a'])).rejects.toThrow(/comes from the head of \w+, and is no embedding/);
        }
      });
    },
  );

  test('is none either where the head is a new softmax, but a new linear layer gives vectors', async () => {
    const {config, weights} = fixture('bert');
    const {model} = await loadTransformer({config, weights, tokenizer: false, pooling: 'mean'});
    const classifier = replaceHead(model, 3, {after: 'pooling'});
    const projection = replaceHead(model, [tf.layers.dense({units: 3, name: 'mine'})], {after: 'pooling'});
    await expect(embed(classifier, letters, ['a'])).rejects.toThrow('comes from the softmax of layer "classes"');
    const vectors = await embed(projection, letters, ['a']);
    expect(vectors.shape).toEqual([1, 3]);
  });
});
