import * as tf from '@tensorflow/tfjs';
import {applyLoRA, getAdapter, toSafetensors} from '../../../src';

export const base = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3]})]});
export const xs = tf.ones([8, 3]);
export const ys = tf.zeros([8, 2]);

export async function files() {
  return {'emoji.safetensors': await toSafetensors(getAdapter(applyLoRA(base)))};
}
