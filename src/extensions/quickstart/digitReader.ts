import * as tf from '@tensorflow/tfjs';
import {bytesOfBase64} from '../../platform/formats/base64';
import {WEIGHTS} from './data';

/** The untrained network: two convolutions and two dense layers, 3,658 parameters, for images `[14, 14, 1]`. */
export function untrainedReader(seed: number): tf.Sequential {
  const {layers} = tf;
  const start = () => ({kernelInitializer: tf.initializers.glorotUniform({seed: seed++})});
  const stride = {kernelSize: 3, strides: 2, activation: 'relu'} as const;
  return tf.sequential({
    layers: [
      layers.conv2d({name: 'strokes', filters: 8, ...stride, inputShape: [14, 14, 1], ...start()}),
      layers.conv2d({name: 'shapes', filters: 16, ...stride, ...start()}),
      layers.flatten({name: 'flat'}),
      layers.dense({name: 'features', units: 32, activation: 'relu', ...start()}),
      layers.dense({name: 'digits', units: 10, activation: 'softmax', ...start()}),
    ],
  });
}

/**
 * Returns a small pretrained model to try the library with. It classifies handwritten digits, `[batch, 14, 14, 1]` to
 * `[batch, 10]`, with an accuracy of 93 % on upright ones. It has only stock layers.
 *
 * @returns the model. The caller disposes of it.
 * @example
 *     const model = applyLoRA(digitReader(), {rank: 4});
 * @experimental
 */
export function digitReader(): tf.Sequential {
  const model = untrainedReader(1);
  const numbers = new Float32Array(bytesOfBase64(WEIGHTS).buffer);
  let start = 0;
  tf.tidy(() =>
    model.setWeights(
      model.weights.map(({shape}) => {
        const size = tf.util.sizeFromShape(shape as number[]);
        return tf.tensor(numbers.slice(start, (start += size)), shape as number[]);
      }),
    ),
  );
  return model;
}
