import * as tf from '@tensorflow/tfjs';
import {modelFiles} from '../makeFiles';
import * as onnx from './onnx';

export async function files() {
  const converted = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [4]})]});
  return {...(await modelFiles('https://example.com/base', converted)), ...(await onnx.files())};
}
