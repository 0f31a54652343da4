import * as tf from '@tensorflow/tfjs';
import {adam, findLearningRate, progress} from 'tfjs-lora';
import type {LabelledImages} from '../format';
import type {Divergence, Progress, Rates, RatesJob, TrainingJob} from '../protocol';
import {classTensor, imageTensor, seededRandom, shuffledAndShifted} from './images';

const BATCH = 16;
/** How long the worker trains before it handles calls of the page, in milliseconds. */
const PATIENCE = 30;
/** The number of folds of the cross-validation. */
const MAX_PARTS = 5;

/** How many of the latest losses are averaged, because single batches differ a lot. */
const RECENT = 8;

/** The result of a training. */
export interface Outcome {
  /** The final accuracy on held-out images, if there are any. */
  heldOutAccuracy: number | null;
  diverged: Divergence | null;
}

/** Trains a model in place until it is done, stopped, or diverges. */
export async function train(
  model: tf.LayersModel,
  {labels, samples, heldOut, epochs, learningRate}: TrainingJob,
  report: (progress: Progress) => void,
  stopped: () => boolean,
): Promise<Outcome> {
  model.compile({optimizer: adam({learningRate}), loss: 'categoricalCrossentropy', metrics: ['accuracy']});
  const random = seededRandom(1);
  // Each epoch shuffles and shifts the images again.
  const batches = tf.data.generator(function* () {
    const {images, classes} = shuffledAndShifted(samples, random);
    for (let start = 0; start < images.length; start += BATCH) {
      yield {
        xs: imageTensor(images.slice(start, start + BATCH)),
        ys: classTensor(classes.slice(start, start + BATCH), labels.length),
      };
    }
  });
  const steps = epochs * Math.ceil(samples.images.length / BATCH);
  let heldOutAccuracy = await accuracyOf(model, heldOut);
  report({kind: 'epoch', accuracy: null, heldOutAccuracy});
  const losses: number[] = [];
  let last = 0;
  const inPage = progress({
    everySeconds: 0,
    onProgress: ({at, done: step, epoch, logs, seconds}) => {
      if (at === 'step') {
        const loss = logs.loss ?? NaN;
        report({kind: 'step', step, steps, epoch, loss, milliseconds: 1000 * (seconds - last)});
        last = seconds;
        losses.push(loss);
      }
    },
  });
  const judge = new tf.CustomCallback(
    {
      onBatchEnd: () => {
        model.stopTraining = stopped() || divergenceOf(losses, labels.length, false) !== null;
      },
      onEpochEnd: async (_epoch, logs) => {
        heldOutAccuracy = await accuracyOf(model, heldOut);
        report({kind: 'epoch', accuracy: logs?.acc ?? null, heldOutAccuracy});
      },
      nextFrameFunc: () => new Promise(resolve => setTimeout(resolve)), // lets in what the page has sent
    },
    PATIENCE,
  );
  if (!stopped()) {
    await model.fitDataset(batches, {epochs, verbose: 0, callbacks: [inPage, judge]});
  }
  return {heldOutAccuracy, diverged: divergenceOf(losses, labels.length, !stopped())};
}

/**
 * Whether training diverged: the loss is NaN, or the mean of the latest losses is 1.5 times that of the start and no
 * better than guessing, whose loss is the logarithm of the number of labels. At the end it is enough that the loss has
 * not fallen.
 */
export function divergenceOf(losses: readonly number[], labels: number, isOver: boolean): Divergence | null {
  const from = losses[0] ?? 0;
  if (!Number.isFinite(losses.at(-1) ?? 0)) {
    return {from, to: NaN};
  }
  const recent = losses.slice(-RECENT);
  const to = recent.reduce((sum, loss) => sum + loss, 0) / recent.length;
  const isMany = losses.length > RECENT;
  return isMany && to > (isOver ? 0.97 : 1.5) * from && to > 0.9 * Math.log(labels) ? {from, to} : null;
}

/** The folds of the cross-validation, with about the same share of each label. */
export function partsOf(classes: readonly number[]): {parts: number[][]; judged: number} {
  const lists = [...new Set(classes)].map(label => classes.flatMap((other, i) => (other === label ? [i] : [])));
  // A label with one sample would have none to train on.
  const enough = lists.filter(({length}) => length >= 2);
  const count = Math.min(MAX_PARTS, Math.max(0, ...enough.map(({length}) => length)));
  const parts = Array.from({length: count}, (_, part) =>
    enough.flatMap(list => list.filter((_, i) => i % count === part)),
  );
  return {parts, judged: enough.flat().length};
}

/** Takes one step at each of many learning rates, and restores the model. */
export async function tryRates(model: tf.LayersModel, {labels, samples}: RatesJob): Promise<Rates> {
  model.compile({optimizer: adam(), loss: 'categoricalCrossentropy'});
  const [images, classes] = [imageTensor(samples.images), classTensor(samples.classes, labels.length)];
  try {
    const {curve, suggestion = null} = await findLearningRate(model, images, classes, {from: 1e-5, batchSize: BATCH});
    return {curve, suggestion};
  } finally {
    tf.dispose([images, classes]);
  }
}

/** The accuracy of a model. */
async function accuracyOf(model: tf.LayersModel, {images, classes}: LabelledImages): Promise<number | null> {
  if (images.length === 0) {
    return null;
  }
  const guesses = tf.tidy(() => tf.argMax(model.predict(imageTensor(images)) as tf.Tensor2D, 1));
  const values = await guesses.data();
  guesses.dispose();
  return classes.filter((label, i) => values[i] === label).length / classes.length;
}
