import * as tf from '@tensorflow/tfjs';
import {capabilities} from '../../backends/shared/capabilities';
import {kindOf, LoRAError, misfitError, show, showShape} from '../../platform/errors';
import {replaceObjectives} from '../../platform/tfjs/training';

/** Weights the losses that a model was compiled with. */
export function weighObjectives(model: tf.LayersModel): void {
  replaceObjectives(model, {
    loss: loss => (packed, outputs) =>
      tf.tidy(() => {
        const {ys, weights} = unpackTargets(packed, outputs.rank);
        const losses = loss(ys, outputs);
        return tf.mul(losses, aligned(weights, losses));
      }),
    metric: metric => (packed, outputs) => tf.tidy(() => metric(unpackTargets(packed, outputs.rank).ys, outputs)),
  });
}

/** The weights, so that they multiply losses of examples or positions. */
function aligned(weights: tf.Tensor, losses: tf.Tensor): tf.Tensor {
  if (losses.rank === 0) {
    throw misfitError(
      'A weighted loss must return a value for each example, [batch], got their mean, a scalar. Leave out the mean, ' +
        "or for logits name the loss: compileModel(model, {weighted: true, loss: 'crossEntropy', …}).",
    );
  }
  if (weights.size === losses.size) {
    return tf.reshape(weights, losses.shape);
  }
  if (!isStart(weights.shape, losses.shape)) {
    throw misfitError(
      `The weights ${showShape(weights.shape)} must have the shape of the losses, ${showShape(losses.shape)}, or its ` +
        'first axes.',
    );
  }
  return spread(weights, losses.rank);
}

/**
 * Puts targets and weights into one tensor, which `fit`, `fitDataset` and `evaluate` take as the targets of a model
 * that `compileModel` compiled with `weighted`. tfjs then shuffles, splits and batches both together. For a dataset:
 *
 *     dataset.map(({xs, ys, weights}) => ({xs, ys: withSampleWeights(ys, weights)}))
 *
 * A weight of 0 leaves an example out, 2 counts it twice. Models with several outputs take one such tensor each.
 *
 * @param ys the targets, `[batch]`, `[batch, values]` or `[batch, positions, …]`.
 * @param weights a weight for each example, `[batch]`, or each position; 0 or more. Default: 1 for all.
 * @returns the targets with their weights. Their layout may change between versions.
 * @throws LoRAError `ERR_OPTION` if a weight is negative or not finite (on WebGL and WebGPU, weights in tensors are not
 *     read; the loss becomes NaN); `ERR_MISFIT` if the shapes do not match or there are no targets.
 * @example
 *     const targets = withSampleWeights(tf.tensor1d([0, 2, 1]), [1, 0.5, 2]);
 * @experimental
 */
export function withSampleWeights(ys: tf.Tensor, weights?: tf.Tensor | tf.TensorLike): tf.Tensor {
  if (!(ys instanceof tf.Tensor) || ys.rank === 0 || ys.size === 0) {
    const got = ys instanceof tf.Tensor ? showShape(ys.shape) : kindOf(ys);
    throw misfitError(`The targets must be a tensor of at least one example, [batch, …], got ${got}.`);
  }
  checkWeights(weights);
  return tf.tidy(() => {
    const targets = tf.cast(ys.rank === 1 ? tf.expandDims(ys, 1) : ys, 'float32');
    const weightTensor =
      weights === undefined
        ? tf.ones(ys.shape.slice(0, 1))
        : tf.cast(weights instanceof tf.Tensor ? weights : tf.tensor(weights), 'float32');
    // On a graphics card they are not read. Invalid ones make the loss NaN.
    const values = tf.where(tf.greaterEqual(weightTensor, 0), weightTensor, NaN);
    const inner = targets.shape.slice(0, -1);
    if (values.size === targets.size && isStart(values.shape, targets.shape)) {
      // Not in the same tensor as the class: tfjs would take its rows for one-hot vectors when it looks up class
      // weights.
      return tf.stack([targets, tf.reshape(values, targets.shape)], -1);
    }
    if (!isStart(values.shape, inner)) {
      throw misfitError(
        `The weights must have one value for each example, ${showShape(ys.shape.slice(0, 1))}, or position of the ` +
          `targets ${showShape(ys.shape)}, got shape ${showShape(values.shape)}.`,
      );
    }
    return tf.concat([targets, tf.broadcastTo(spread(values, targets.rank), [...inner, 1])], -1);
  });
}

/** Whether a shape is the first axes of another. */
function isStart(shape: tf.Shape, fullShape: tf.Shape): boolean {
  return shape.length > 0 && shape.every((size, axis) => size === fullShape[axis]);
}

/** Values with further axes of one entry. */
function spread(values: tf.Tensor, rank: number): tf.Tensor {
  return tf.reshape(values, [...values.shape, ...Array.from({length: rank - values.rank}, () => 1)]);
}

/** @throws LoRAError if they are not numbers from 0 on, if their values can be read. */
function checkWeights(weights: tf.Tensor | tf.TensorLike | undefined): void {
  const isTensor = weights instanceof tf.Tensor;
  if (weights === undefined || (isTensor && capabilities().isOnHost !== true)) {
    return;
  }
  const isList = Array.isArray(weights) || ArrayBuffer.isView(weights);
  const values: ArrayLike<unknown> = isTensor ? weights.dataSync() : isList ? tf.util.flatten<number>(weights) : [];
  if (values.length === 0) {
    throw new LoRAError(
      `weights must be a tensor or a list of numbers, one for each example, got ${isList ? '[]' : kindOf(weights)}.`,
    );
  }
  const wrong = Array.from(values).findIndex(value => !(Number.isFinite(value) && Number(value) >= 0));
  if (wrong >= 0) {
    throw new LoRAError(`Weight ${wrong} is ${show(values[wrong])}. Weights must be finite numbers, 0 or more.`);
  }
}

/**
 * Splits the result of `withSampleWeights`.
 *
 * @param rank of the targets, where vectors count as `[batch, 1]`.
 * @throws LoRAError if it cannot come from `withSampleWeights`.
 */
export function unpackTargets(packed: tf.Tensor, rank: number): {ys: tf.Tensor; weights: tf.Tensor} {
  const last = packed.shape.at(-1) ?? 0;
  if (last < 2 || (packed.rank !== rank && (packed.rank !== rank + 1 || last !== 2))) {
    throw misfitError(
      `The model is compiled for weighted targets. Pass withSampleWeights(ys, weights), got targets ` +
        `${showShape(packed.shape)}.`,
    );
  }
  if (packed.rank === rank + 1) {
    const [ys, weights] = tf.unstack(packed, -1) as [tf.Tensor, tf.Tensor];
    return {ys, weights};
  }
  const [ys, weights] = tf.split(packed, [last - 1, 1], -1) as [tf.Tensor, tf.Tensor];
  return {ys, weights: tf.squeeze(weights, [-1])};
}
