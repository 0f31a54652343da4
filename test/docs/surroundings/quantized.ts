import * as tf from '@tensorflow/tfjs';

export const model = tf.sequential({
  layers: [tf.layers.dense({units: 64, inputShape: [32], activation: 'relu'}), tf.layers.dense({units: 3})],
});
