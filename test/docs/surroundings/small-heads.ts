import * as tf from '@tensorflow/tfjs';

export const base = tf.sequential({
  layers: [
    tf.layers.dense({units: 64, activation: 'relu', inputShape: [16], name: 'body'}),
    tf.layers.dense({units: 5, activation: 'softmax', name: 'head'}),
  ],
});
