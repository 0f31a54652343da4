import * as tf from '@tensorflow/tfjs';
import {modelFiles} from '../makeFiles';
import {landmarkGraph} from './examples-hand';

export const model = tf.sequential({
  layers: [tf.layers.flatten({inputShape: [16, 16, 1]}), tf.layers.dense({units: 63, name: 'landmarks'})],
});

export const images = Array.from({length: 30}, () => tf.randomUniform([16, 16, 1]));
export const points = Array.from({length: 30}, () => tf.randomUniform([63], 0, 16));
export const url = 'https://example.com/landmarks/model.json';

export async function files() {
  return modelFiles('https://example.com/landmarks', await landmarkGraph());
}
