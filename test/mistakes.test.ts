import {writeFileSync} from 'node:fs';
import {createServer, type Server} from 'node:http';
import type {AddressInfo} from 'node:net';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import * as languageEntry from '../src/language';
import {adaptLayer} from '../src/layers';
import * as library from '../src/node';
import {temporaryFolder} from './temporaryFolder';

// Mistakes as JavaScript makes them, without types.
const lora = library as unknown as Record<string, (...args: unknown[]) => unknown>;
const language = languageEntry as unknown as typeof lora;
const {applyLoRA, disposeModel, getAdapter, LoRAError} = library;

let folder: string;
let server: Server;
let base: tf.LayersModel;
let model: tf.LayersModel;

const network = () =>
  tf.sequential({
    layers: [
      tf.layers.dense({name: 'block_q_proj', units: 4, inputShape: [3]}),
      tf.layers.dense({name: 'out', units: 2}),
    ],
  });

function disposed(adapted: boolean): tf.LayersModel {
  const made = adapted ? applyLoRA(network(), {rank: 2}) : network();
  disposeModel(made);
  return made;
}

const at = (name: string) => join(folder, name);
const url = (path: string) => `http://127.0.0.1:${(server.address() as AddressInfo).port}/${path}`;

beforeAll(async () => {
  await tf.setBackend('cpu');
  folder = temporaryFolder();
  writeFileSync(at('note.txt'), 'hello');
  server = createServer(({url: path = ''}, response) => {
    response.writeHead(path.includes('page') ? 200 : path.includes('broken') ? 500 : 404);
    response.end('<!doctype html><html>Not found</html>');
  });
  await new Promise<void>(resolve => server.listen(0, resolve));
  base = network();
  model = applyLoRA(base, {rank: 2});
});
afterAll(async () => {
  await new Promise(resolve => server.close(resolve));
});

const GONE = 'The model was disposed: its weights are no longer there. Load or build it again.';

test.each<[string, () => unknown, string | RegExp]>([
  ['adam(1e-3)', () => lora.adam!(1e-3), 'got a number. For example: adam({learningRate: 0.001}).'],
  ['adamW(5)', () => lora.adamW!(5), 'got a number. For example: adamW({learningRate: 5}).'],
  ['sgd(0.1)', () => lora.sgd!(0.1), 'got a number. For example: sgd({learningRate: 0.1}).'],
  ['loraPlus(adam, 16)', () => lora.loraPlus!(lora.adam!(), 16), 'For example: loraPlus(adam(), {ratio: 16}).'],
  [
    'a name for targets',
    () => lora.applyLoRA!(base, {targets: 'out'}),
    `targets must be a list of names, classes, patterns or predicates, and not empty, got "out". Write targets: ['out'].`,
  ],
  [
    'a rank without a layer to adapt',
    () => lora.applyLoRA!(base, {targets: 'head', rank: 2, dropout: 0.1}),
    /^rank has no effect with targets: 'head', which adapts no layer\.\ndropout has no effect/,
  ],
  [
    'a name that tfjs has for no optimizer',
    () => lora.compileModel!(base, {optimizer: 'adamW'}),
    /^optimizer must be an optimizer, such as adamW\(\{learningRate: 1e-3\}\), or one of "sgd", .* got "adamW"\.$/,
  ],
  ['a number for an optimizer', () => lora.compileModel!(base, {optimizer: 0.1}), /^optimizer must be .* a number\.$/],
  [
    'preferences with such a name',
    () => language.compilePreferences!(base, {optimizer: 'lion'}),
    /^optimizer must be an optimizer, .* got "lion"\.$/,
  ],
  [
    'texts without the tokenizer before them',
    () => language.generateTexts!(base, ['a text']),
    /^tokenizer must have functions encode and decode, .* got an array\.$/,
  ],
  [
    'tokens without the tokenizer before them',
    () => language.addTokens!(base, ['<tool>']),
    /^tokenizer must have a function encode, .* got an array\.$/,
  ],
  ['a pattern for targets', () => lora.applyLoRA!(base, {targets: /o/}), 'got /o/. Write targets: [/o/].'],
  [
    'the end of a name',
    () => lora.applyLoRA!(base, {targets: ['q_proj']}),
    'No layer matches target "q_proj". Closest: block_q_proj. To match names that end so: /q_proj$/.',
  ],
  ['a disposed base', () => lora.applyLoRA!(disposed(false), {rank: 2}), GONE],
  ['a disposed base, planned', () => lora.planLoRA!(disposed(false), {rank: 2}), GONE],
  ['a disposed base, with a head', () => lora.replaceHead!(disposed(false), 3), GONE],
  ['a disposed model, merged', () => lora.mergeLoRA!(disposed(true)), GONE],
  ['a disposed model, summarized', () => lora.summarizeLoRA!(disposed(true)), GONE],
  ['a disposed model, saved', () => lora.saveAdapter!(disposed(true), at('x.safetensors')), GONE],
  ['a page in place of a file', () => lora.loadAdapter!(url('page.safetensors')), 'This is a web page, not a safe'],
  ['no file', () => lora.loadAdapter!(url('a.safetensors')), /^http:\S+\/a\.safetensors: 404 Not Found\.$/],
  ['no JSON', () => lora.loadAdapter!(url('a.json')), /^http:\S+\/a\.json: 404 Not Found\.$/],
  ['a server in trouble', () => lora.loadAdapter!(url('broken.json')), /json: 500 Internal Server Error\.$/],
  ['no server', () => lora.loadAdapter!('http://127.0.0.1:1/a.safetensors'), /cannot be fetched: fetch failed: \w/],
  ['no such file', () => lora.loadAdapter!(at('a.safetensors')), 'Check the path; it must be a saved adapter.'],
  ['a file that is no adapter', () => lora.loadAdapter!(at('note.txt')), 'note.txt is a file, and not a folder with'],
  ['no files', () => lora.loadAdapter!([]), 'The list of files is empty: no file was picked.'],
  [
    'a model in place of options',
    () => lora.loadAdapter!('a', base),
    "got an object of class Sequential. For example: loadAdapter('adapter.safetensors', {model}).",
  ],
  [
    'a path for an adapter',
    () => lora.setAdapter!(model, 'a'),
    'as getAdapter and loadAdapter return it, got a string.',
  ],
  ['an array for a tensor', () => lora.predictWith!(model, [[1]], [null]), /^x must be a tensor, .* got an array\.$/],
  ['adapters without weights', () => lora.combineAdapters!([getAdapter(model)]), 'Pass {adapter, weight: 1}.'],
  [
    'a name for a head',
    () => lora.replaceHead!(base, 'x'),
    /^The new head must be a number of classes, .* a string\.$/,
  ],
  [
    'a shape alone',
    () => lora.learningRateSchedule!('cosine'),
    "For example: learningRateSchedule({shape: 'cosine'}).",
  ],
  ['a label alone', () => lora.progress!('LoRA'), "For example: progress({label: 'LoRA'})."],
  [
    'a controller',
    () => lora.progress!({signal: new AbortController()}),
    'signal must be an AbortSignal, such as that of an AbortController, got an object of class AbortController.',
  ],
  ['a layer alone', () => adaptLayer(tf.layers.flatten() as never), 'Pass the layer by name: {layer'],
  ['a class', () => lora.registerAdaptable!(tf.layers.Layer, {}), "must be a string, got a function. For example: 'My"],
  [
    'no place',
    () => lora.saveMerged!(model),
    'The place to save to must be a URL or a tf.io.IOHandler, got undefined.',
  ],
  [
    'a path without a model',
    () => lora.loadKerasModel!(at('none/model.json')),
    /^There is no file .*model\.json\. Check/,
  ],
])('%s: the error says what is wrong and what to do', async (_, mistake, message) => {
  const error: unknown = await Promise.resolve()
    .then(mistake)
    .catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(LoRAError);
  expect((error as Error).message).toMatch(message);
});

test('in Node, a relative path is a place to save to and to load from', async () => {
  const here = process.cwd();
  process.chdir(folder);
  try {
    await library.saveAdapter(model, 'mine.safetensors');
    const adapter = await library.loadAdapter('mine.safetensors');
    expect(Object.keys(adapter.tensors)).toHaveLength(4);
  } finally {
    process.chdir(here);
  }
});
