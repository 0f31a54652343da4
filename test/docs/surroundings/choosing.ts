import * as tf from '@tensorflow/tfjs';

const {layers} = tf;
const images28 = tf.input({shape: [28, 28, 1]});
const convolved = layers
  .conv2d({name: 'conv2d_1', filters: 4, kernelSize: 3, strides: 2})
  .apply(layers.conv2d({name: 'conv2d', filters: 4, kernelSize: 3, strides: 2}).apply(images28));
const encoder = tf.sequential({name: 'encoder', layers: [layers.dense({units: 80, inputShape: [144]})]});
const block = layers.dense({name: 'block_12_dense', units: 16}).apply(encoder.apply(layers.flatten().apply(convolved)));
const features = layers.dense({name: 'dense_1', units: 16, activation: 'relu'}).apply(block);
const outputs = layers.dense({name: 'head', units: 10, activation: 'softmax'}).apply(features);
export const base = tf.model({inputs: images28, outputs: outputs as tf.SymbolicTensor});

export const small = tf.sequential({
  layers: [
    layers.conv2d({name: 'conv', filters: 4, kernelSize: 3, padding: 'same', inputShape: [8, 8, 2]}),
    layers.batchNormalization({name: 'norm'}),
    layers.dense({name: 'head', units: 2}),
  ],
});

export const images = tf.ones([10, 28, 28, 1]);
export const labels = tf.oneHot(tf.tensor1d([0, 1, 2, 3, 4, 0, 1, 2, 3, 4], 'int32'), 5).toFloat();
