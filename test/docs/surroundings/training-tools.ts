import * as tf from '@tensorflow/tfjs';
import {applyLoRA} from '../../../src';
import {fakeElement} from '../../core/training/fakeElement';

const {layers} = tf;
export const base = tf.sequential({
  layers: [layers.dense({units: 4, activation: 'relu', inputShape: [3]}), layers.dense({name: 'head', units: 2})],
});
export const model = applyLoRA(base, {rank: 1, targets: ['head']});
export const xs = tf.randomNormal([32, 3]);
export const ys = tf.zeros([32, 2]);
tf.dispose(model.predict(xs)); // keeps the updated weight, which the page would otherwise be the first to make
export const document: {getElementById(id: string): HTMLElement | null} = {
  getElementById: () => fakeElement().element,
};
export const earlierXs = xs;
export const earlierYs = ys;
