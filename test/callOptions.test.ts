import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  type CallOptions,
  type CallProgress,
  checkpoint,
  disposeModel,
  fineTune,
  measureLoRA,
  moveTo,
  resume,
  safeMergeLoRA,
  saveAdapter,
  saveMerged,
  toSafetensors,
} from 'tfjs-lora';
import {classifyImages, encodeImages} from 'tfjs-lora/images';
import {generateTexts, loadGGUF} from 'tfjs-lora/language';
import {classify, encodeExamples, encodePairs} from 'tfjs-lora/transformers';
import {temporaryFolder} from './temporaryFolder';
import {fileOf} from './extensions/language/ggufFiles';
import {random, useBackend} from './helpers';

// The rows `signal` and `onProgress` of the table in `docs/stability.md`, held by calling.

let folder: string;
let model: tf.LayersModel;
let base: tf.LayersModel;
let data: [xs: tf.Tensor, ys: tf.Tensor];
let images: tf.LayersModel;
let texts: tf.LayersModel;
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  await useBackend('cpu');
  folder = temporaryFolder();
  base = tf.sequential({layers: [tf.layers.dense({name: 'd', units: 2, inputShape: [3]})]});
  model = applyLoRA(base, {rank: 2});
  images = tf.sequential({layers: [tf.layers.flatten({inputShape: [4, 4, 3]}), tf.layers.dense({units: 2})]});
  const tokens = tf.layers.embedding({inputDim: 4, outputDim: 2, inputShape: [null]});
  texts = tf.sequential({layers: [tokens, tf.layers.globalAveragePooling1d({})]});
  model.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  data = [random([4, 3], 1), random([4, 2], 2)];
  await model.fit(...data, {epochs: 1, verbose: 0, callbacks: [checkpoint(at('run'))]});
});
afterAll(() => tf.dispose(data));

const IMAGE = {data: new Uint8ClampedArray(4 * 4 * 3), width: 4, height: 4};

const LABELS = ['no', 'yes'];

const TOKENIZER = {encode: () => ({ids: [1, 2]}), decode: (ids: number[]) => 'a'.repeat(ids.length)};

const CALLS: readonly [name: string, call: (options: CallOptions) => Promise<unknown>][] = [
  ['saveAdapter', options => saveAdapter(model, at('a.json'), options)],
  ['saveAdapter, safetensors', options => saveAdapter(model, at('a.safetensors'), options)],
  ['saveAdapter, PEFT', options => saveAdapter(model, at('peft'), {format: 'peft', ...options})],
  ['toSafetensors', options => toSafetensors(model, options)],
  ['measureLoRA', options => measureLoRA(model, options)],
  ['safeMergeLoRA', async options => disposeModel(await safeMergeLoRA(model, options))],
  ['saveMerged', options => saveMerged(model, at('merged'), options)],
  ['moveTo', options => moveTo(model, 'cpu', options)],
  ['fineTune', options => fineTune(model, data, {epochs: 2, ...options})],
  ['resume', options => resume(model, at('run'), options)],
  [
    'encodeImages',
    async options => {
      tf.dispose(await encodeImages(images, [IMAGE, IMAGE], {range: [0, 1], ...options}));
    },
  ],
  ['classifyImages', options => classifyImages(images, [IMAGE, IMAGE], {range: [0, 1], labels: LABELS, ...options})],
  ['classify', options => classify(texts, TOKENIZER, ['a', 'b'], {labels: LABELS, batchSize: 1, ...options})],
  ['encodeExamples', options => encodeExamples(texts, TOKENIZER, [{text: 'a', label: 1}], options)],
  ['encodePairs', options => encodePairs(texts, TOKENIZER, [{anchor: 'a', positive: 'b', negative: 'c'}], options)],
  [
    'generateTexts',
    async options => {
      const loaded = await loadGGUF(fileOf('llama'), {tokenizer: false});
      try {
        await generateTexts(loaded.model, TOKENIZER, ['a b'], {maxTokens: 2, ...options});
      } finally {
        disposeModel(loaded.model);
      }
    },
  ],
];

test.each(CALLS)('%s reports its progress in the one shape, to the end', async (_, call) => {
  const reports: CallProgress[] = [];
  await call({onProgress: progress => reports.push(progress), signal: new AbortController().signal});
  expect(reports.length).toBeGreaterThan(0);
  for (const {done, total, what} of reports) {
    expect(done).toBeLessThanOrEqual(total);
    expect(what).toMatch(/^(training|(reading|exporting|measuring|checking|encoding|classifying|generating) \w+)$/);
  }
  const {done, total} = reports.at(-1)!;
  expect(done).toBe(total);
});

test.each(CALLS)('%s ends when its signal is aborted, and leaves nothing', async (_, call) => {
  const before = tf.memory().numTensors;
  await expect(call({signal: AbortSignal.abort()})).rejects.toMatchObject({code: 'ERR_ABORTED'});
  const controller = new AbortController();
  await expect(call({onProgress: () => controller.abort(), signal: controller.signal})).rejects.toMatchObject({
    code: 'ERR_ABORTED',
  });
  await new Promise(resolve => setTimeout(resolve));
  expect(tf.memory().numTensors).toBe(before);
});

test.each(CALLS)('%s refuses what is no signal and no function', async (_, call) => {
  await expect(call({signal: {} as AbortSignal})).rejects.toThrow('signal must be an AbortSignal');
  await expect(call({onProgress: 1 as never})).rejects.toThrow('onProgress must be a function');
});
