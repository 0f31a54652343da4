import * as tf from '@tensorflow/tfjs';
import {applyLoRA} from '../../../src';

export const model = applyLoRA(tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3]})]}), {rank: 1});
