import * as tf from '@tensorflow/tfjs';
import {modelFiles} from '../makeFiles';

export async function files() {
  const converted = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [4]})]});
  return modelFiles('https://example.com/base', converted);
}
