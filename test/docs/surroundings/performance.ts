import * as tf from '@tensorflow/tfjs';

export const alpha = 4;
export const rank = 2;
export const kernel = tf.variable<tf.Rank.R2>(tf.ones([3, 5]), false);
export const bias = tf.variable(tf.ones([5]), false);
export const a = tf.variable<tf.Rank.R2>(tf.ones([3, 2]));
export const b = tf.variable<tf.Rank.R2>(tf.zeros([2, 5]));
