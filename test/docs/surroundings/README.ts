import * as tf from '@tensorflow/tfjs';
import {fileOf} from '../../extensions/language/ggufFiles';

const inputs = tf.input({shape: [8, 8, 3]});
const pooled = tf.layers
  .globalAveragePooling2d({dataFormat: 'channelsLast'})
  .apply(tf.layers.conv2d({filters: 16, kernelSize: 3, activation: 'relu'}).apply(inputs));
const outputs = tf.layers.dense({units: 10, activation: 'softmax'}).apply(pooled) as tf.SymbolicTensor;

export const mobilenet = tf.model({inputs, outputs});
export const images = tf.ones([10, 8, 8, 3]);
export const labels = tf.oneHot(tf.range(0, 10, 1, 'int32').mod(tf.scalar(5, 'int32')).toInt(), 5).toFloat();

const messages = [
  {role: 'user', content: 'a fox'},
  {role: 'assistant', content: 'the quick brown fox'},
];
export const jsonLines = Array.from({length: 2}, () => JSON.stringify({messages})).join('\n');

export function files() {
  return Promise.resolve({'SmolLM2-135M-Instruct-Q4_1.gguf': fileOf('llama')});
}

export const pretrained = tf.sequential({
  layers: [tf.layers.dense({units: 6, activation: 'relu', inputShape: [8]}), tf.layers.dense({units: 3})],
});
export const xs = tf.ones([6, 8]);
export const ys = tf.oneHot(tf.tensor1d([0, 1, 2, 0, 1, 2], 'int32'), 3).toFloat();
