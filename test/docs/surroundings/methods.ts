import * as tf from '@tensorflow/tfjs';

export const base = tf.sequential({layers: [tf.layers.dense({units: 16, inputShape: [16]})]});
