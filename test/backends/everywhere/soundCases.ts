import * as tf from '@tensorflow/tfjs';
import {ctcLoss} from 'tfjs-lora/sound';
import {random} from '../../helpers';
import {asOnCpu, type Case, elsewhere, largestDifference, read, relativeDifference} from './case';

/** The CTC loss is composed of many operations; a target that does not fit has to be seen everywhere. */
export const soundCases: readonly Case[] = [
  {
    behaviour: 'CTC losses and their gradients match cpu',
    tolerance: 1e-5,
    halfTolerance: 5e-2,
    run: asOnCpu(computed),
  },
  {
    behaviour: 'CTC losses and gradients of NaN and infinite logits match cpu, and so do targets made in the loss',
    tolerance: 1e-5,
    halfTolerance: 5e-2,
    run: async () => {
      const [own, expected] = [await computedOfNotFinite(), await elsewhere('cpu', computedOfNotFinite)];
      const kinds = (lists: number[][]) => lists.map(list => list.map(kindOf));
      const finite = (lists: number[][]) => lists.map(list => list.map(value => (Number.isFinite(value) ? value : 0)));
      return Math.max(
        largestDifference(kinds(own), kinds(expected)),
        relativeDifference(finite(own), finite(expected)),
      );
    },
  },
];

/** 0 for a finite number, and one number each for NaN and the infinities. */
function kindOf(value: number): number {
  return Number.isFinite(value) ? 0 : Number.isNaN(value) ? 1 : Math.sign(value) * 2;
}

/** One example has a NaN, one of each infinity, one no class that can be its target, and one a NaN after its end. */
async function computedOfNotFinite(): Promise<number[][]> {
  const tensors = tf.tidy(() => {
    const logits = random([5, 4, 4], 1, 2).arraySync() as number[][][];
    logits[0]![1]![2] = NaN;
    logits[1]![0]![3] = Infinity;
    logits[2]![2]![0] = -Infinity;
    logits[3]!.forEach(frame => (frame[1] = -Infinity));
    logits[4]![3]![1] = NaN;
    const losses = (x: tf.Tensor, zeroInfinity: boolean) => {
      const targets = tf.cast(tf.add(tf.zeros([5, 2]), [[1, 2]]), 'int32');
      const inputLengths = tf.cast(tf.add(tf.tensor1d([4, 4, 4, 4, 2]), 1), 'int32');
      return ctcLoss(targets, x, {inputLengths: tf.sub(inputLengths, tf.scalar(1, 'int32')), zeroInfinity});
    };
    const x = tf.tensor3d(logits);
    const slopes = tf.grad((given: tf.Tensor) => tf.sum<tf.Scalar>(losses(given, true)))(x);
    return [losses(x, false), losses(x, true), slopes];
  });
  return read(tensors);
}

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
