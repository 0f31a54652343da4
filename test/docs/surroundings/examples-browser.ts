import * as tf from '@tensorflow/tfjs';
import {applyLoRA, getAdapter} from '../../../src';
import {MemoryHandler} from '../../models';

const base = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3]})]});
export const adapter = getAdapter(applyLoRA(base));
export const handler = new MemoryHandler();
export const labels = ['5', '6'];
