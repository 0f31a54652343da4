import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, toSafetensors} from 'tfjs-lora';
import {generateTexts, loadGGUF, type ChatMessage} from 'tfjs-lora/language';
import {LanguageEngine} from '../../examples/language/src/engine';
import type {News} from '../../examples/language/src/protocol';
import {temporaryFolder} from '../temporaryFolder';

// A bundler gives the page the addresses of the binaries.
jest.mock('../../examples/shared/wasm', () => ({startWasm: () => Promise.resolve()}));

/** A tiny model that has positions for several turns. */
function withPositions(file: string, positions: number): Buffer {
  const bytes = readFileSync(file);
  const key = 'llama.context_length';
  bytes.writeUInt32LE(positions, bytes.indexOf(key) + key.length + 4); // after the type of the value
  return bytes;
}

const folder = temporaryFolder();
const path = join(folder, 'base.gguf');
writeFileSync(path, withPositions('test/fixtures/gguf/llama.gguf', 512));
const user = (content: string): ChatMessage => ({role: 'user', content});
const assistant = (content: string): ChatMessage => ({role: 'assistant', content});

test('the page has a conversation with each model, until the adapter or the system message changes', async () => {
  const {model, tokenizer} = await loadGGUF(path);
  const answerTo = async (...messages: ChatMessage[]) =>
    (await generateTexts(model, tokenizer, [messages], {maxTokens: 48}))[0]!;
  let hear: (news: News) => void = () => undefined;
  const engine = new LanguageEngine(news => hear(news));
  await engine.start(path);
  const {numTensors} = tf.memory();

  const first = await engine.write([user('the fox')], false);
  expect(first).toBe(await answerTo(user('the fox')));
  // What is stopped is no part of the conversation.
  hear = ({kind}) => kind === 'piece' && void engine.stop();
  const stopped = await engine.write([user('a cat')], false);
  expect(stopped.length).toBeLessThan(first.length);
  hear = () => undefined;
  const second = await answerTo(user('the fox'), assistant(first), user('a dog'));
  expect(second).not.toBe(await answerTo(user('a dog')));
  expect(await engine.write([user('a dog')], false)).toBe(second);

  const system = {role: 'system', content: 'Be brief.'};
  expect(await engine.write([system, user('a dog')], false)).toBe(await answerTo(system, user('a dog')));

  // A new adapter computes what the base does.
  const adapted = applyLoRA(model, {rank: 2});
  const file = new Blob([await toSafetensors(adapted)]);
  disposeModel(adapted);
  for (const learned of [true, false]) {
    await engine.open(file);
    expect(await engine.write([user('the fox')], learned)).toBe(first);
  }
  expect(await engine.write([user('a dog')], false)).toBe(second);
  await engine.forget();
  expect(tf.memory().numTensors).toBe(numTensors);
  model.dispose();
});

test('another model replaces the first with its adapter, and its weights can stay in the file', async () => {
  const bytes = new Uint8Array(readFileSync(path));
  const engine = new LanguageEngine(() => undefined);
  const inMemory = (await engine.start(path)).bytes;
  const {numTensors} = tf.memory();
  const first = await engine.write([user('the fox')], false);
  await engine.learn({examples: [{text: 'the fox'}], epochs: 1, sample: 'a'});

  // A worker reads the chosen file synchronously.
  const global = globalThis as {FileReaderSync?: unknown};
  const slice = jest.spyOn(Blob.prototype, 'slice').mockImplementation(function slice(begin, end) {
    return {part: bytes.subarray(begin, end)} as unknown as Blob;
  });
  global.FileReaderSync = class {
    readAsArrayBuffer({part}: {part: Uint8Array}) {
      return part.slice().buffer;
    }
  };
  const streamed = await engine.start(new Blob([bytes]), true);
  expect(streamed.bytes).toBeLessThan(inMemory);
  expect(await engine.write([user('the fox')], true)).toBe(first); // there is no adapter
  await engine.learn({examples: [{text: 'the fox'}], epochs: 1, sample: 'a'});
  slice.mockRestore();
  delete global.FileReaderSync;

  await engine.start(path);
  expect(tf.memory().numTensors).toBe(numTensors);
});
