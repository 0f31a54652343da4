import * as tf from '@tensorflow/tfjs';
import {fileOf} from '../../extensions/language/ggufFiles';
import {modelFiles} from '../makeFiles';

const inputs = tf.input({shape: [8, 8, 3]});
const pooled = tf.layers
  .globalAveragePooling2d({dataFormat: 'channelsLast'})
  .apply(tf.layers.conv2d({filters: 16, kernelSize: 3, activation: 'relu'}).apply(inputs));
const outputs = tf.layers.dense({units: 10, activation: 'softmax'}).apply(pooled) as tf.SymbolicTensor;

export const url = 'https://example.com/mobilenet/model.json';
export const photos = Array.from({length: 10}, () => tf.ones([10, 12, 3]));
export const classes = photos.map((_, i) => i % 5);

const messages = [
  {role: 'user', content: 'a fox'},
  {role: 'assistant', content: 'the quick brown fox'},
];
export const jsonLines = Array.from({length: 2}, () => JSON.stringify({messages})).join('\n');

export async function files() {
  return {
    ...(await modelFiles('https://example.com/mobilenet', tf.model({inputs, outputs}))),
    'SmolLM2-135M-Instruct-Q4_1.gguf': fileOf('llama'),
  };
}

export const pretrained = tf.sequential({
  layers: [tf.layers.dense({units: 6, activation: 'relu', inputShape: [8]}), tf.layers.dense({units: 3})],
});
export const xs = tf.ones([6, 8]);
export const ys = tf.oneHot(tf.tensor1d([0, 1, 2, 0, 1, 2], 'int32'), 3).toFloat();
