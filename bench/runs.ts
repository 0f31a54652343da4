import * as tf from '@tensorflow/tfjs';
import type {Run} from './measure';

/** One forward pass over the batch, read back so that asynchronous backends have to finish. */
export function forward(model: tf.LayersModel, xs: tf.Tensor | tf.Tensor[]): Run {
  const batchSize = [xs].flat()[0]!.shape[0];
  return async () => {
    const y = model.predict(xs, {batchSize}) as tf.Tensor;
    await y.data();
    y.dispose();
  };
}

/** One training step over the batch: forward, backward, the optimizer's update. `trainOnBatch` reads the loss back. */
export function step(model: tf.LayersModel, {xs, ys}: {xs: tf.Tensor | tf.Tensor[]; ys: tf.Tensor}): Run {
  return async () => {
    await model.trainOnBatch(xs, ys);
  };
}

/**
 * Compiles a model for the steps that are measured. Dispose the optimizer: it was passed in, so the model leaves it
 * alone.
 */
export function compile(model: tf.LayersModel, loss: string, optimizer: tf.Optimizer = stockAdam()): tf.Optimizer {
  model.compile({optimizer, loss});
  return optimizer;
}

/**
 * The optimizer's own part of a step: its update of variables like those that a model trains, by gradients that are
 * there already.
 */
export function update(model: tf.LayersModel, optimizer: tf.Optimizer = stockAdam()): Run {
  const weights = model.trainableWeights.map(({shape}) => tf.variable(tf.randomNormal(shape as number[])));
  const gradients = weights.map(({name, shape}) => ({name, tensor: tf.randomNormal(shape)}));
  return () => {
    tf.tidy(() => optimizer.applyGradients(gradients));
    return Promise.resolve();
  };
}

/** Small, so that weights which are trained on noise for a while do not overflow. */
export const LEARNING_RATE = 1e-4;

function stockAdam(): tf.Optimizer {
  return tf.train.adam(LEARNING_RATE);
}
