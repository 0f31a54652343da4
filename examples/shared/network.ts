import * as tf from '@tensorflow/tfjs';
import {adam} from 'tfjs-lora';
import type {Digits} from './digits';

/** A small CNN for ten digits, 28 × 28. Its start is the same for the same seed. */
export function network(seed: number): tf.Sequential {
  const {layers} = tf;
  const start = () => ({kernelInitializer: tf.initializers.glorotUniform({seed: seed++})});
  return tf.sequential({
    layers: [
      layers.conv2d({filters: 8, kernelSize: 5, strides: 2, activation: 'relu', inputShape: [28, 28, 1], ...start()}),
      layers.conv2d({filters: 16, kernelSize: 3, strides: 2, activation: 'relu', ...start()}),
      layers.flatten(),
      layers.dense({units: 48, activation: 'relu', ...start()}),
      layers.dense({units: 10, activation: 'softmax', ...start()}),
    ],
  });
}

/** Trains a model, in the order of the digits, so that it comes out the same each time. */
export async function train(
  model: tf.LayersModel,
  digits: Digits,
  {rate, ...options}: {rate: number; epochs: number; callbacks?: tf.Callback},
): Promise<void> {
  model.compile({optimizer: adam({learningRate: rate}), loss: 'categoricalCrossentropy'});
  await model.fit(digits.images, digits.labels, {...options, batchSize: 50, shuffle: false, verbose: 0});
}

/** Percentage of digits that a model recognises. */
export function accuracy(model: tf.LayersModel, {images, labels}: Digits): number {
  return tf.tidy(() => {
    const guesses = tf.argMax(model.predict(images, {batchSize: 100}) as tf.Tensor, 1);
    const right = tf.equal(guesses, tf.argMax(labels, 1));
    return 100 * tf.mean(tf.cast(right, 'float32')).dataSync()[0]!;
  });
}
