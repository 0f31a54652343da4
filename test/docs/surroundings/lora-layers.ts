import * as tf from '@tensorflow/tfjs';

export const pretrained = tf.sequential({
  layers: [
    tf.layers.dense({units: 8, activation: 'relu', inputShape: [6]}),
    tf.layers.dense({units: 4, activation: 'softmax'}),
  ],
});
export const xs = tf.randomNormal([12, 6], 0, 1, 'float32', 1);
export const ys = tf.oneHot(tf.range(0, 12, 1, 'int32').mod(tf.scalar(4, 'int32')).toInt(), 4).toFloat();
