import * as tf from '@tensorflow/tfjs';
import {adam, findLearningRate, progress} from 'tfjs-lora';
import type {LabelledImages} from '../format';
import type {Progress, Rates, RatesJob, TrainingJob} from '../protocol';
import {classTensor, imageTensor, seededRandom, shuffledAndShifted} from './images';

const BATCH = 16;
/** How long the worker trains before it looks whether the page wants something, in milliseconds. */
const PATIENCE = 30;

/** Trains a model in place, until it is done or `stopped` says so. Returns the last accuracy on the held-out images. */
export async function train(
  model: tf.LayersModel,
  {labels, samples, heldOut, epochs, learningRate}: TrainingJob,
  report: (progress: Progress) => void,
  stopped: () => boolean,
): Promise<number | null> {
  const optimizer = adam({learningRate});
  model.compile({optimizer, loss: 'categoricalCrossentropy', metrics: ['accuracy']});
  const random = seededRandom(1);
  // Each pass shuffles and shifts the images anew.
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
  let last = 0;
  const inPage = progress({
    everyMs: 0,
    onProgress: ({at, step, epoch, logs, seconds}) => {
      if (at === 'step') {
        report({kind: 'step', step, steps, epoch, loss: logs.loss ?? NaN, milliseconds: 1000 * (seconds - last)});
        last = seconds;
      }
    },
  });
  const judge = new tf.CustomCallback(
    {
      onBatchEnd: () => {
        model.stopTraining = stopped();
      },
      onEpochEnd: async (_epoch, logs) => {
        heldOutAccuracy = await accuracyOf(model, heldOut);
        report({kind: 'epoch', accuracy: logs?.acc ?? null, heldOutAccuracy});
      },
      nextFrameFunc: () => new Promise(resolve => setTimeout(resolve)), // lets in what the page has sent
    },
    PATIENCE,
  );
  try {
    if (!stopped()) {
      await model.fitDataset(batches, {epochs, verbose: 0, callbacks: [inPage, judge]});
    }
  } finally {
    optimizer.dispose();
  }
  return heldOutAccuracy;
}

/** Takes a step at each of many learning rates, and puts the model back. */
export async function tryRates(model: tf.LayersModel, {labels, samples}: RatesJob): Promise<Rates> {
  const optimizer = adam();
  model.compile({optimizer, loss: 'categoricalCrossentropy'});
  const [images, classes] = [imageTensor(samples.images), classTensor(samples.classes, labels.length)];
  try {
    const {curve, suggestion = null} = await findLearningRate(model, images, classes, {from: 1e-5, batchSize: BATCH});
    return {curve, suggestion};
  } finally {
    tf.dispose([images, classes]);
    optimizer.dispose();
  }
}

/** The share of images that a model reads right. */
async function accuracyOf(model: tf.LayersModel, {images, classes}: LabelledImages): Promise<number | null> {
  if (images.length === 0) {
    return null;
  }
  const guesses = tf.tidy(() => tf.argMax(model.predict(imageTensor(images)) as tf.Tensor2D, 1));
  const values = await guesses.data();
  guesses.dispose();
  return classes.filter((label, i) => values[i] === label).length / classes.length;
}
