import * as tf from '@tensorflow/tfjs';

export const model = tf.sequential({
  layers: [tf.layers.flatten({inputShape: [16, 16, 1]}), tf.layers.dense({units: 63, name: 'places'})],
});

export const pictures = Array.from({length: 30}, () => tf.randomUniform([16, 16, 1]));
export const places = Array.from({length: 30}, () => tf.randomUniform([63], 0, 16));
