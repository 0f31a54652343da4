import {cpSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Tokenizer} from '@huggingface/tokenizers';
import * as tf from '@tensorflow/tfjs';
import {disposeModel, LoRAError} from 'tfjs-lora';
import {type LoadedTransformer, loadTransformer} from 'tfjs-lora/transformers';
import {useBackend, withoutLeaks} from '../../helpers';
import {fixture, wordTokenizer} from './fixtures';

beforeAll(() => useBackend('cpu'));

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
    folder = mkdtempSync(join(tmpdir(), 'tfjs-lora-tokenizer-'));
    cpSync('test/fixtures/transformers/bert', folder, {recursive: true});
  });
  afterEach(() => rmSync(folder, {recursive: true}));

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
