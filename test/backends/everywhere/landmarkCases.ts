import * as tf from '@tensorflow/tfjs';
import {augmentLandmarks, landmarkLoss, normalizedMeanError} from 'tfjs-lora/landmarks';
import {random} from '../../helpers';
import {asOnCpu, type Case, read} from './case';

const POINTS = 5;

/** What landmarks learn by has to compute the same everywhere, where a landmark is not known too. */
export const landmarkCases: readonly Case[] = [
  {
    behaviour: 'landmark augmentation, loss and metrics match cpu',
    tolerance: 1e-5,
    halfTolerance: 2e-2,
    run: asOnCpu(computed),
  },
];

async function computed(): Promise<number[][]> {
  const tensors = tf.tidy(() => {
    const truth = random<tf.Rank.R2>([2, 3 * POINTS], 1);
    const unknown = tf.tensor2d([Array.from({length: 3 * POINTS}, (_, i) => (i === 3 ? NaN : 0)), Array(15).fill(0)]);
    const targets = tf.add(truth, unknown);
    const layout = {points: POINTS, dimensions: 3} as const;
    const changed = augmentLandmarks({...layout, unit: 'fraction', mirror: [[0, 1]], seed: 3})({
      xs: tf.sigmoid(random([2, 7, 9, 2], 2)),
      ys: targets,
    });
    const loss = landmarkLoss(layout);
    const slopes = tf.grad((guess: tf.Tensor) => tf.sum<tf.Scalar>(loss(targets, guess)));
    const guess = random<tf.Rank.R2>([2, 3 * POINTS], 4);
    const known = tf.where(tf.isNaN(changed.ys), tf.zerosLike(changed.ys), changed.ys);
    const error = normalizedMeanError(layout);
    const ofNothing = tf.isNaN(error(tf.fill([2, 3 * POINTS], NaN), guess));
    return [changed.xs, known, loss(targets, guess), slopes(guess), error(targets, guess), ofNothing];
  });
  return read(tensors);
}
