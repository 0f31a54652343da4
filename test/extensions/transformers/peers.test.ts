import {Tokenizer} from '@huggingface/tokenizers';
import * as tf from '@tensorflow/tfjs';
import {disposeModel} from 'tfjs-lora';
import {generate, generateTexts, loadGGUF} from 'tfjs-lora/language';
import {makeTokenizer} from '../../../src/extensions/transformers/load/peers';
import {withoutLeaks} from '../../helpers';
import {fileOf} from '../language/ggufFiles';

beforeAll(() => tf.setBackend('cpu'));
afterEach(() => ['@huggingface/tokenizers', '@huggingface/jinja'].forEach(peer => jest.dontMock(peer)));

const CHAT = [{role: 'user', content: 'hello'}];
const missing = (peer: string) =>
  jest.doMock(peer, () => {
    throw new Error(`Cannot find module '${peer}'`);
  });

test('the tokenizer of a file carries its chat template, by the optional peers', async () => {
  const {model, tokenizer, tokenizerConfig} = await loadGGUF(fileOf('qwen2'));
  disposeModel(model);
  expect(tokenizer).toBeInstanceOf(Tokenizer);
  const {Template} = await import('@huggingface/jinja');
  const values = {messages: CHAT, add_generation_prompt: true};
  const text = new Template(tokenizerConfig.chat_template!).render(values);
  expect(text).toContain('hello');
  expect(tokenizer.chatTemplate?.render(values)).toBe(text);
});

test('without @huggingface/tokenizers the error says how to install it, and nothing is left', async () => {
  missing('@huggingface/tokenizers');
  await withoutLeaks(async () => {
    await expect(loadGGUF(fileOf('qwen2'))).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('npm install @huggingface/tokenizers') as string,
    });
    const {model} = await loadGGUF(fileOf('qwen2'), {tokenizer: false});
    disposeModel(model);
    const own = await loadGGUF(fileOf('qwen2'), {Tokenizer});
    disposeModel(own.model);
    expect(own.tokenizer).toBeInstanceOf(Tokenizer);
  });
});

test('without @huggingface/jinja texts are generated, and for a chat the error says how to install it', async () => {
  missing('@huggingface/jinja');
  const {model, tokenizer} = await loadGGUF(fileOf('qwen2'));
  await expect(generateTexts(model, tokenizer, ['hello'], {maxTokens: 2})).resolves.toHaveLength(1);
  expect(() => generate(model, tokenizer, CHAT)).toThrow(/needs @huggingface\/jinja.* npm install @huggingface\/jinja/);
});

test('a template is compiled when it is first used, and once', async () => {
  const sources: string[] = [];
  class Template {
    constructor(source: string) {
      sources.push(source);
    }
    render = () => `${sources.length}`;
  }
  class Plain {
    readonly isMine = true;
  }
  const files = {tokenizerJson: {}, tokenizerConfig: {}, template: '{{ x }}'};
  const {chatTemplate} = await makeTokenizer(files, {Tokenizer: Plain, Template});
  expect(sources).toEqual([]);
  expect([chatTemplate?.render({}), chatTemplate?.render({})]).toEqual(['1', '1']);
  expect(await makeTokenizer({...files, template: undefined}, {Tokenizer: Plain})).toEqual(new Plain());
});
