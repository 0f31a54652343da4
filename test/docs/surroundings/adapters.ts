import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, getAdapter} from '../../../src';

const base = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3]})]});
const adapter = (seed: number) => getAdapter(applyLoRA(base, {rank: 1, seed}));

export const cats = adapter(1);
export const lions = adapter(2);
export const indoors = adapter(3);
export const x = tf.ones([4, 3]);
export const xs = tf.ones([8, 3]);
export const ys = tf.zeros([8, 2]);
export const model = applyLoRA(base, {rank: 1});
tf.dispose(model.predict(x)); // keeps the updated weight, which the page would otherwise be the first to make
model.compile({optimizer: adam({learningRate: 1e-3}), loss: 'meanSquaredError'});

export async function evaluate(judged: tf.LayersModel): Promise<number> {
  const loss = judged.evaluate(xs, ys) as tf.Scalar;
  return (await loss.data())[0]!;
}
