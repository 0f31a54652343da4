import * as tf from '@tensorflow/tfjs';
import {modelFiles} from '../makeFiles';
import * as onnx from './onnx';
import * as pictures from './pictures';
import * as transformers from './transformers';

export const onnxUrl = onnx.url;
export const xs = tf.randomNormal([4, 8]);
export const classes = tf.tensor1d([0, 1, 1, 0]);

export const projectUrl = 'https://example.com/project/model.json';
export const photos = [tf.ones([10, 12, 3]), tf.zeros([8, 8, 3])];

export const kerasUrl = 'https://example.com/keras/model.json';
export const inputs = tf.ones([6, 4]);
export const outputs = tf.zeros([6, 2]);

export const encoderUrl = transformers.url;

export async function files() {
  const fromKeras = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [4]})]});
  return {
    ...(await onnx.files()),
    ...(await pictures.files()),
    ...(await transformers.files()),
    ...(await modelFiles('https://example.com/keras', fromKeras)),
  };
}
