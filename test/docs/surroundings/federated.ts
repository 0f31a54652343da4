import * as tf from '@tensorflow/tfjs';
import {emptyTask, SuperLink} from '../../extensions/federated/superLink';

export const base = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [4], activation: 'softmax'})]});
export const xs = tf.ones([6, 4]);
export const ys = tf.tensor1d([0, 1, 2, 0, 1, 2]);
export let url = '';

const server = new SuperLink([emptyTask()]);

export async function files(): Promise<Record<string, string>> {
  url = await server.start();
  return {};
}

export async function afterwards(): Promise<void> {
  await server.stop();
}
