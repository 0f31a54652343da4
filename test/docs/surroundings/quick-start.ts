import * as tf from '@tensorflow/tfjs';
import {applyLoRA, toSafetensors} from '../../../src';
import {modelFiles} from '../makeFiles';

export const url = 'https://example.com/model/model.json';
export const xs = tf.ones([8, 3]);
export const ys = tf.zeros([8, 2]);

export async function files() {
  const model = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3], name: 'fc'})]});
  const lions = await toSafetensors(applyLoRA(model, {rank: 1}));
  const cats = lions; // Node has the file that the page saves
  return {
    ...(await modelFiles('https://example.com/model', model)),
    'cats.safetensors': cats,
    'lions.safetensors': lions,
  };
}
