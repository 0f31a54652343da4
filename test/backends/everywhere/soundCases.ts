import * as tf from '@tensorflow/tfjs';
import {ctcLoss} from 'tfjs-lora/sound';
import {random} from '../../helpers';
import {type Case, elsewhere, read, relativeDifference} from './case';

/** The CTC loss is composed of many operations; a target that does not fit has to be seen everywhere. */
export const soundCases: readonly Case[] = [
  {
    behaviour: 'CTC losses and their gradients match cpu',
    tolerance: 1e-5,
    halfTolerance: 5e-2,
    run: async () => relativeDifference(await computed(), await elsewhere('cpu', computed)),
  },
];

async function computed(): Promise<number[][]> {
  const tensors = tf.tidy(() => {
    const targets = tf.tensor2d([1, 1, 2, 3, -100, -100, 2, 2, 2], [3, 3], 'int32');
    const options = {inputLengths: tf.tensor1d([7, 6, 4], 'int32'), zeroInfinity: true};
    const losses = (logits: tf.Tensor) => ctcLoss(targets, logits, options);
    const logits = random([3, 7, 4], 1, 2);
    const slopes = tf.grad((x: tf.Tensor) => tf.sum<tf.Scalar>(losses(x)))(logits);
    return [losses(logits), slopes];
  });
  return read(tensors);
}
