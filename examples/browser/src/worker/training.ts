import * as tf from '@tensorflow/tfjs';
import {adam} from 'tfjs-lora';
import type {LabelledImages} from '../format';
import type {Progress, TrainingJob} from '../protocol';
import {classTensor, imageTensor, seededRandom, shuffledAndShifted} from './images';

const BATCH = 16;
const LEARNING_RATE = 8e-3;
/** How long the worker trains before it looks whether the page wants something, in milliseconds. */
const PATIENCE = 30;

/** Trains a model in place, step by step, until it is done or `stopped` says so. Returns the last accuracy on the held-out images. */
export async function train(
  model: tf.LayersModel,
  {labels, samples, heldOut, epochs}: TrainingJob,
  report: (progress: Progress) => void,
  stopped: () => boolean,
): Promise<number | null> {
  const optimizer = adam({learningRate: LEARNING_RATE});
  model.compile({optimizer, loss: 'categoricalCrossentropy', metrics: ['accuracy']});
  const random = seededRandom(1);
  const stepsPerEpoch = Math.ceil(samples.images.length / BATCH);
  const steps = stepsPerEpoch * epochs;
  let step = 0;
  let answered = performance.now();
  let heldOutAccuracy = await accuracyOf(model, heldOut);
  report({kind: 'epoch', accuracy: null, heldOutAccuracy});
  try {
    for (let epoch = 1; epoch <= epochs && !stopped(); epoch++) {
      const {images, classes} = shuffledAndShifted(samples, random);
      let right = 0;
      let seen = 0;
      for (let start = 0; start < images.length && !stopped(); start += BATCH) {
        const x = imageTensor(images.slice(start, start + BATCH));
        const y = classTensor(classes.slice(start, start + BATCH), labels.length);
        const began = performance.now();
        const [loss = NaN, accuracy = NaN] = (await model.trainOnBatch(x, y)) as number[];
        const milliseconds = performance.now() - began;
        right += accuracy * x.shape[0];
        seen += x.shape[0];
        tf.dispose([x, y]);
        report({kind: 'step', step: ++step, steps, epoch, loss, milliseconds});
        if (performance.now() - answered > PATIENCE) {
          await new Promise(resolve => setTimeout(resolve)); // lets in what the page has sent
          answered = performance.now();
        }
      }
      heldOutAccuracy = await accuracyOf(model, heldOut);
      report({kind: 'epoch', accuracy: right / seen, heldOutAccuracy});
    }
  } finally {
    optimizer.dispose();
  }
  return heldOutAccuracy;
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
