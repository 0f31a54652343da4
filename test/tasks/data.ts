import * as tf from '@tensorflow/tfjs';
import {applyLoRA, exportPEFT, getAdapter, toSafetensors} from 'tfjs-lora';
import {modelFiles} from '../docs/makeFiles';
import * as graph from '../docs/surroundings/graphModels';
import * as federated from '../docs/surroundings/federated';
import * as onnx from '../docs/surroundings/onnx';
import * as sound from '../docs/surroundings/sound';
import * as transformers from '../docs/surroundings/transformers';
import {fileOf} from '../extensions/language/ggufFiles';

// What the user of a task has: models at URLs, files in a folder, and examples.

export const url = 'https://example.com/model/model.json';
export const imageUrl = 'https://example.com/images/model.json';
export const graphUrl = graph.url;
export const onnxUrl = onnx.url;
export const encoderUrl = transformers.url;
export const ggufUrl = 'https://example.com/model.gguf';
export const speechUrl: string = 'whisper-tiny.en'; // a folder
export let serverUrl = '';

const values = (shape: number[]) =>
  tf.tensor(
    Array.from({length: tf.util.sizeFromShape(shape)}, (_, i) => Math.sin(i + 1)),
    shape,
  );
export const xs = values([8, 4]);
export const ys = values([8, 2]);
export const labels = tf.tensor1d([0, 1, 0, 1, 0, 1, 0, 1]);
export const graphXs = values([8, 6, 6, 2]);
export const onnxXs = values([8, 8]);
export const photos = [
  {data: new Uint8Array(12 * 16 * 3).fill(90), width: 16, height: 12},
  {data: new Uint8Array(9 * 9 * 3).fill(20), width: 9, height: 9},
];
export const examples = [
  {text: 'the cat sat', label: 'no'},
  {text: 'a dog slept', label: 'yes'},
];
export const pairs = [
  {anchor: 'yes', positive: 'the cat'},
  {anchor: 'no', positive: 'a dog'},
];
export const chatLines = '{"prompt": "the", "completion": " dog"}\n{"prompt": "the", "completion": " fox"}';
export const preferenceLines = '{"prompt": "the", "chosen": " dog", "rejected": " fox"}';
export const recordings = ['clinic1.wav', 'clinic2.wav'];

const {layers} = tf;

export async function files(): Promise<Record<string, string | Uint8Array>> {
  const base = tf.sequential({
    layers: [
      layers.dense({name: 'hidden', units: 6, activation: 'relu', inputShape: [4]}),
      layers.dense({name: 'out', units: 2}),
    ],
  });
  const images = tf.sequential({
    layers: [
      layers.conv2d({filters: 3, kernelSize: 3, inputShape: [8, 8, 3]}),
      layers.globalAveragePooling2d({}),
      layers.dense({units: 4, activation: 'softmax'}),
    ],
  });
  const adapted = applyLoRA(base, {rank: 2});
  const {config, weights} = await exportPEFT(base, {adapter: getAdapter(adapted)});
  await federated.files();
  serverUrl = federated.url;
  return {
    ...(await modelFiles('https://example.com/model', base)),
    ...(await modelFiles('https://example.com/images', images)),
    ...(await graph.files()),
    ...(await onnx.files()),
    ...(await transformers.files()),
    ...(await sound.files()),
    [ggufUrl]: fileOf('llama'),
    'cats.safetensors': await toSafetensors(adapted),
    'dogs.safetensors': await toSafetensors(applyLoRA(base, {rank: 1})),
    'from-python/adapter_config.json': JSON.stringify(config),
    'from-python/adapter_model.safetensors': weights,
  };
}

export const afterwards = federated.afterwards;
