import * as tf from '@tensorflow/tfjs';

/** A CNN with 56,389 parameters for 28×28 images of five digits. Its initialization is always the same. */
export function digitReader(): tf.Sequential {
  let seed = 0;
  const start = () => ({kernelInitializer: tf.initializers.glorotUniform({seed: ++seed})});
  return tf.sequential({
    layers: [
      tf.layers.conv2d({
        name: 'conv_1',
        filters: 16,
        kernelSize: 3,
        activation: 'relu',
        inputShape: [28, 28, 1],
        ...start(),
      }),
      tf.layers.maxPooling2d({name: 'pool_1', poolSize: 2}),
      tf.layers.conv2d({name: 'conv_2', filters: 32, kernelSize: 3, activation: 'relu', ...start()}),
      tf.layers.maxPooling2d({name: 'pool_2', poolSize: 2}),
      tf.layers.flatten({name: 'flatten'}),
      tf.layers.dense({name: 'features', units: 64, activation: 'relu', ...start()}),
      tf.layers.dense({name: 'digits', units: 5, activation: 'softmax', ...start()}),
    ],
  });
}
