import {cpSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {Tokenizer} from '@huggingface/tokenizers';
import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  compileModel,
  disposeModel,
  getAdapter,
  loadAdapter,
  LoRAError,
  toSafetensors,
  trainableVariables,
} from 'tfjs-lora';
import {generate, loadGGUF} from 'tfjs-lora/language';
import {
  addTokens,
  exportTransformer,
  type LoadedTransformer,
  loadTransformer,
  trainableTokens,
} from 'tfjs-lora/transformers';
import {appendRows} from '../../../src/extensions/quantized/formats/appendRows';
import {formatNamed} from '../../../src/extensions/quantized/formats/formats';
import {useBackend, withoutLeaks} from '../../helpers';
import {temporaryFolder} from '../../temporaryFolder';
import {fileOf} from '../language/ggufFiles';
import {fixture, wordTokenizer} from './fixtures';

const {config, weights} = fixture('bert');
const llama = fixture('llama');

const tokenizerJson = wordTokenizer(['[UNK]', 'good', 'day']);
const tokenizerConfig = {
  tokenizer_class: 'PreTrainedTokenizerFast',
  unk_token: '[UNK]',
  bos_token: '<s>',
  chat_template: '{{ bos_token }}{% for message in messages %}[{{ message.content }}]{% endfor %}',
};

/** What reading a property throws. */
function errorOf(loaded: object): LoRAError {
  try {
    return (loaded as LoadedTransformer).tokenizer as unknown as LoRAError;
  } catch (error) {
    return error as LoRAError;
  }
}

describe('a model of the hub has the tokenizer', () => {
  let folder: string;

  beforeEach(() => {
    folder = temporaryFolder();
    cpSync('test/fixtures/transformers/bert', folder, {recursive: true});
  });

  test('in its folder, made by the package that is installed', async () => {
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizerJson));
    writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(tokenizerConfig));
    const {model, tokenizer, config: said} = await loadTransformer(folder);
    disposeModel(model);
    expect(tokenizer).toBeInstanceOf(Tokenizer);
    expect(tokenizer.encode('Good day').ids).toEqual([1, 2]);
    expect(tokenizer.decode([2, 1])).toBe('day good');
    expect(said.architectures).toEqual(['BertModel']);
  });

  test('whose files are given, in a class of the caller', async () => {
    class Own {
      constructor(
        readonly json: object,
        readonly settings: object,
      ) {}
      encode = () => ({ids: [7]});
    }
    const given = {tokenizerJson, tokenizerConfig: new Blob([JSON.stringify(tokenizerConfig)]), Tokenizer: Own};
    const {model, tokenizer} = await loadTransformer({config, weights, ...given});
    disposeModel(model);
    expect(tokenizer).toBeInstanceOf(Own);
    expect([tokenizer.json, tokenizer.settings]).toEqual([tokenizerJson, tokenizerConfig]);
  });

  test('with the chat template of a language model', async () => {
    const given = {tokenizerJson, tokenizerConfig};
    const {model, tokenizer} = await loadTransformer({config: llama.config, weights: llama.weights, ...given});
    disposeModel(model);
    const messages = [{role: 'user', content: 'Hi'}];
    expect(tokenizer.chatTemplate?.render({messages, bos_token: '<s>'})).toBe('<s>[Hi]');
  });

  test('or says when it is read what is missing', async () => {
    const without = await loadTransformer(folder);
    disposeModel(without.model);
    expect(errorOf(without)).toMatchObject({
      code: 'ERR_NOT_FOUND',
      message: `The model has no tokenizer: no tokenizer.json is in ${folder}. Pass {tokenizerJson}.`,
    });
    expect(Object.keys(without)).toEqual(['model', 'config']);
    writeFileSync(join(folder, 'tokenizer.json'), '{');
    const damaged = await loadTransformer(folder);
    disposeModel(damaged.model);
    expect(errorOf(damaged)).toMatchObject({code: 'ERR_DAMAGED'});
    expect(errorOf(damaged).message).toMatch(/^tokenizer\.json is not valid JSON: /);
    const refused = await loadTransformer(folder, {tokenizer: false});
    disposeModel(refused.model);
    expect(errorOf(refused).message).toBe('The model was loaded with {tokenizer: false}.');
  });

  test('but for one that takes images', async () => {
    const vit = fixture('vit');
    const loaded = await loadTransformer({config: vit.config, weights: vit.weights});
    disposeModel(loaded.model);
    expect(errorOf(loaded).message).toBe('The model takes images and has no tokenizer.');
  });

  test('and refuses files that are given and make none', async () => {
    await withoutLeaks(async () => {
      const load = (given: object) => loadTransformer({config, weights, ...given});
      await expect(load({tokenizerJson: '{', Tokenizer})).rejects.toThrow('tokenizer.json is not valid JSON');
      await expect(load({tokenizerJson: {}})).rejects.toThrow('The tokenizer cannot be built');
      await expect(load({Tokenizer: 'bert'})).rejects.toThrow('Tokenizer must be a class');
      await expect(load({tokenizer: 'bert'})).rejects.toThrow('tokenizer must be true or false, got a string.');
    });
  });
});

test('the names of labels are those of the config', async () => {
  const load = (labels: unknown) => loadTransformer({config, weights, labels: labels as number});
  const {model, config: said} = await load(['bad', 'good']);
  expect(model.outputs[0]!.shape).toEqual([null, 2]);
  expect(said).toMatchObject({
    architectures: ['BertForSequenceClassification'],
    id2label: {0: 'bad', 1: 'good'},
    label2id: {bad: 0, good: 1},
  });
  disposeModel(model);
  await expect(load(['bad', 'bad'])).rejects.toThrow('The names in labels must be distinct strings, got "bad".');
  await expect(load([])).rejects.toThrow('labels must be a positive integer or a list of names, got [].');
});

describe('a load', () => {
  const bytes = weights.length;

  test('reports its progress in bytes, up to all of them', async () => {
    const reports: number[] = [];
    const {model} = await loadTransformer({
      config,
      weights,
      onProgress: ({done, total, what}) => {
        expect(what).toBe('loading weights, in bytes');
        expect(total).toBeLessThan(bytes);
        expect(done).toBeGreaterThan(reports.at(-1) ?? 0);
        reports.push(done / total);
      },
    });
    disposeModel(model);
    expect(reports.at(-1)).toBe(1);
    expect(reports.length).toBeGreaterThan(10);
  });

  test('leaves nothing if it is aborted, or the progress throws, at any tensor', async () => {
    const reason = new Error('enough');
    for (const at of [1, 2, 7, 20]) {
      const controller = new AbortController();
      const after = (f: () => void) => {
        let count = 0;
        return () => {
          count += 1;
          if (count === at) {
            f();
          }
        };
      };
      await withoutLeaks(async () => {
        const load = (f: () => void) =>
          loadTransformer({config, weights, signal: controller.signal, onProgress: after(f)});
        await expect(
          load(() => {
            throw reason;
          }),
        ).rejects.toBe(reason);
        await expect(load(() => controller.abort(reason))).rejects.toMatchObject({
          code: 'ERR_ABORTED',
          cause: reason,
        });
      });
    }
    expect(tf.memory().numTensors).toBe(0);
  });
});

const EMBEDDING = 'model/embed_tokens';
const NEW = ['<tool>', 'w3 w5'];

async function loaded(name: string) {
  const {config, weights} = fixture(name);
  const rows = (JSON.parse(config) as {vocab_size: number}).vocab_size;
  const words = Array.from({length: rows - 1}, (_, i) => `w${i + 1}`);
  return loadTransformer({
    config,
    weights,
    tokenizerJson: wordTokenizer(['[UNK]', ...words]),
    tokenizerConfig: {unk_token: '[UNK]'},
  });
}

/** The rows of a weight with a row or a column for each token. */
const tableOf = (model: tf.LayersModel, name: string) => {
  const layer = model.getLayer(name);
  return tf.tidy(() => {
    const weight = layer.getWeights()[0]!;
    return (layer.getClassName() === 'Dense' ? tf.transpose(weight) : weight).arraySync() as number[][];
  });
};

const meanOf = (rows: readonly number[][]) =>
  rows[0]!.map((_, i) => rows.reduce((sum, row) => sum + row[i]!, 0) / rows.length);

const logitsOf = (model: tf.LayersModel, ids: number[]) =>
  tf.tidy(() => {
    const tokens = tf.tensor2d([ids], undefined, 'int32');
    return (model.predict([tokens, tf.onesLike(tokens)]) as tf.Tensor3D).arraySync()[0]!;
  });

test.each(['llamaTied', 'llama'])('new tokens get rows in the table and in the head: %s', async name => {
  await withoutLeaks(async () => {
    const {model, tokenizer} = await loaded(name);
    const before = logitsOf(model, [1, 3, 5]);
    const rows = tableOf(model, EMBEDDING);
    const count = rows.length;
    const mean = addTokens(model, tokenizer, NEW);
    const pieces = addTokens(model, tokenizer, ['w2', ...NEW], {init: 'pieces', special: true});
    expect([mean.ids, pieces.ids]).toEqual([
      [count, count + 1],
      [2, count, count + 1],
    ]);
    for (const layer of name === 'llama' ? [EMBEDDING, 'lm_head'] : [EMBEDDING]) {
      const own = tableOf(model, layer);
      const [byMean, byPieces] = [mean, pieces].map(added => tableOf(added.model, layer));
      [byMean, byPieces].forEach(grown => {
        expect(grown!.slice(0, count)).toEqual(own);
      });
      expect(byMean![count]).toBeAllClose(meanOf(own), {atol: 1e-6});
      expect(byMean![count + 1]).toBeAllClose(meanOf(own), {atol: 1e-6});
      expect(byPieces![count + 1]).toBeAllClose(meanOf([own[3]!, own[5]!]), {atol: 1e-6});
      expect(byPieces![count]).toBeAllClose(own[0]!, {atol: 1e-6}); // three unknown words so far
    }
    const after = logitsOf(mean.model, [1, 3, 5]);
    expect(after.flatMap(each => each.slice(0, count))).toBeAllClose(before.flat(), {atol: 1e-6});
    expect(after[0]!.length).toBe(count + 2);
    expect(logitsOf(model, [1, 3, 5])).toEqual(before);
    expect(pieces.tokenizer.encode('w1 <tool> w4').ids).toEqual([1, count, 4]);
    expect(tokenizer.encode('w1 <tool> w4').ids).toEqual([1, 0, 0, 0, 4]);
    expect(pieces.tokenizer.decode([1, count], {skip_special_tokens: true})).not.toContain('<tool>');
    expect(mean.tokenizer.decode([1, count], {skip_special_tokens: true})).toContain('<tool>');
    [mean.model, pieces.model, model].forEach(disposeModel);
  });
});

test('a quantized model learns to write a new token, and its adapter does so in another session', async () => {
  await withoutLeaks(async () => {
    const session = async () => {
      const {model, tokenizer} = await loadGGUF(fileOf('llama'));
      const added = addTokens(model, tokenizer, ['<tool>']);
      disposeModel(model);
      return added;
    };
    const {model: base, tokenizer, ids} = await session();
    const answer = async (model: tf.LayersModel) => {
      let text = '';
      for await (const piece of generate(model, tokenizer, 'The fox', {maxTokens: 1})) {
        text += piece;
      }
      return text;
    };
    expect(await answer(base)).not.toBe('<tool>');
    const model = applyLoRA(base, trainableTokens(base, ids, {head: true}));
    expect(trainableVariables(model).every(({shape}) => shape[0] === 1)).toBe(true);
    const optimizer = adam({learningRate: 0.5});
    compileModel(model, {optimizer});
    const prompt = tokenizer.encode('The fox').ids;
    const xs = tf.tensor2d([prompt], undefined, 'int32');
    const inputs = [xs, tf.onesLike(xs)];
    const ys = tf.tensor2d([prompt.map((_, i) => (i === prompt.length - 1 ? ids[0]! : -100))]);
    for (let step = 0; step < 10; step++) {
      await model.trainOnBatch(inputs, ys);
    }
    expect(await answer(model)).toBe('<tool>');
    const adapter = getAdapter(model);
    const file = await toSafetensors(adapter);
    const other = await session();
    const read = await loadAdapter(file, {model: other.model});
    const again = applyLoRA(other.model, read);
    expect(logitsOf(again, prompt)).toEqual(logitsOf(model, prompt));
    adapter.dispose();
    optimizer.dispose();
    tf.dispose([...inputs, ys]);
    [again, other.model, model, base].forEach(disposeModel);
  });
});

describe('as a value', () => {
  beforeAll(() => useBackend('cpu'));
  test('a new row of a quantized table is a copy of the row that is closest', () => {
    const format = formatNamed('Q8_0')!;
    // A block of 32 values a row, each the scale times a byte: 1, 5, 2 and 9.
    const bytes = new Uint8Array(4 * 34);
    [1, 5, 2, 9].forEach((value, row) => bytes.set([0, 0x3c, ...Array<number>(32).fill(value)], 34 * row));
    const matrix = {format, rows: 4, width: 32};
    const packed = new Uint8Array(appendRows(matrix, bytes, [[], [0, 2], [3], [0, 1]]).buffer);
    expect([...packed.subarray(0, bytes.length)]).toEqual([...bytes]);
    const valueOf = (row: number) => packed[34 * row + 2];
    expect([4, 5, 6, 7].map(valueOf)).toEqual([5, 1, 9, 2]); // the means are 4.25, 1.5, 9 and 3
  });

  test('it survives a file of the model, and is exported with its vocabulary', async () => {
    await withoutLeaks(async () => {
      const {model, tokenizer} = await loaded('llama');
      const added = addTokens(model, tokenizer, NEW);
      const {config, weights} = await exportTransformer(added.model);
      expect(JSON.parse(config)).toMatchObject({vocab_size: 63});
      const again = await loadTransformer({config, weights, tokenizer: false});
      expect(logitsOf(again.model, [1, 61, 62])).toEqual(logitsOf(added.model, [1, 61, 62]));
      [again.model, added.model, model].forEach(disposeModel);
    });
  });

  test('what cannot be is refused by name, and leaves nothing', async () => {
    const {model, tokenizer} = await loaded('llamaTied');
    await withoutLeaks(() => {
      const add = (tokens: unknown, options?: object) => () => addTokens(model, tokenizer, tokens as string[], options);
      expect(add([])).toThrow('tokens must be a list of different texts');
      expect(add(['a', 'a'])).toThrow('got ["a","a"]');
      expect(add(['a'], {init: 'zeros'})).toThrow("init must be 'mean' or 'pieces'");
      expect(add(['a'], {special: 1})).toThrow('special must be true or false');
      expect(add(['a'], {layer: 'wte'})).toThrow('There is no Embedding "wte"');
      const foreign = {encode: () => ({ids: []}), decode: () => ''};
      expect(() => addTokens(model, foreign, ['a'])).toThrow('must be that of loadTransformer or loadGGUF');
      expect(() => trainableTokens(model, [1], {head: 'lm_head' as unknown as boolean})).toThrow(
        'head must be true or false',
      );
      const adapted = applyLoRA(model, {rank: 2, targets: [/q_proj$/]});
      expect(() => addTokens(adapted, tokenizer, ['a'])).toThrow('adapted');
      disposeModel(adapted);
    });
    const untied = await loaded('llama');
    expect(() => trainableTokens(untied.model, [1], {head: true, lora: {targets: ['lm_head']}})).toThrow(
      'lora adapts "lm_head", the output head. Exclude it',
    );
  });
});
