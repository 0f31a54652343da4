import * as tf from '@tensorflow/tfjs';
import {checkLogits, crossEntropySums, shareOfTargets} from '../../../core/ops/crossEntropy';
import {type ClassLossOptions, isWeighted, weightedSum} from '../../../core/ops/weightedCrossEntropy';
import type {LossOfHead} from '../../../core/training/losses';
import {sumsOfMetric} from '../../../core/training/metrics';
import {detached, isRecording} from '../../../platform/tfjs/engine';
import type {MetricFunction} from '../../../platform/tfjs/metric';
import {type Head, type PositionSums, sumsInChunks} from '../ops/headInChunks';
import {outputHead} from './outputHead';

/**
 * The cross-entropy in chunks of positions, together with the metrics that are made of sums; `undefined` if the model
 * does not end in a head of positions.
 */
export function lossOfHead(
  model: tf.LayersModel,
  metrics: readonly MetricFunction[],
  options: ClassLossOptions,
): LossOfHead | undefined {
  const head = outputHead(model);
  if (head === undefined) {
    return undefined;
  }
  const metricSums = metrics.map(measure => sumsOfMetric(measure));
  let latest: {observed: tf.Tensor[]; logits?: tf.Tensor} = {observed: []};
  return {
    states: head.states,
    loss: (targets, states, weights) => {
      const {loss, ...outputs} = crossEntropyOfHead(
        head,
        targets,
        states,
        {...options, ...weights},
        (chunkTargets, logits) => metricSums.flatMap(metricSum => metricSum?.sumsOf(chunkTargets, logits) ?? []),
      );
      latest = outputs;
      return loss;
    },
    metric: (index, targets, states) => {
      const ofSums = metricSums[index];
      if (ofSums === undefined) {
        // A function of the user reads the logits.
        latest.logits ??= detached(() => head.apply(states, isRecording()));
        return (metrics[index] as MetricFunction)(targets, latest.logits);
      }
      const from = 2 * metricSums.slice(0, index).filter(Boolean).length;
      return ofSums.valueOf(latest.observed[from] as tf.Tensor, latest.observed[from + 1] as tf.Tensor);
    },
  };
}

/**
 * Computes the cross-entropy from the states before a head, with the logits of a chunk of positions at a time.
 *
 * @param states `[batch, positions, width]`.
 * @param observe further sums over positions, from their logits `[1, positions, classes]` and targets.
 * @returns the mean, what was observed, and the logits if there is just one chunk.
 */
function crossEntropyOfHead(
  head: Head,
  targets: tf.Tensor,
  states: tf.Tensor3D,
  {weights, ...options}: ClassLossOptions,
  observe: (targets: tf.Tensor, logits: tf.Tensor) => tf.Tensor[],
): {loss: tf.Scalar; observed: tf.Tensor[]; logits?: tf.Tensor} {
  const {classes} = head;
  checkLogits(targets, [...states.shape.slice(0, -1), classes], {weights, ...options});
  const {ignoreIndex = -100} = options;
  const asRow = (x: tf.Tensor) => tf.reshape(x, [1, targets.size]);
  const ofPositions = (weightsOfExamples: tf.Tensor) =>
    asRow(
      tf.mul(
        tf.expandDims(weightsOfExamples, -1),
        tf.ones([...weightsOfExamples.shape, targets.size / weightsOfExamples.size]),
      ),
    );
  const what: PositionSums = {
    perPosition: {targets: asRow(targets), ...(weights && {weights: ofPositions(weights)})},
    sumsOf: (logits, {targets: chunkTargets, weights: ownWeights}) =>
      tf.reshape(
        isWeighted({weights, ...options})
          ? weightedSum(chunkTargets as tf.Tensor, logits, {...options, ...(ownWeights && {weights: ownWeights})})
          : crossEntropySums([chunkTargets as tf.Tensor], logits, ignoreIndex),
        [1, 1],
      ),
    observe: (logits, {targets: chunkTargets}) => observe(chunkTargets as tf.Tensor, logits),
  };
  const {sums, observed, logits} = sumsInChunks(head, tf.reshape(states, [1, targets.size, -1]), what);
  return {
    loss: shareOfTargets(tf.reshape(sums, []), targets, classes, options),
    observed,
    ...(logits && {logits: tf.reshape(logits, [...states.shape.slice(0, -1), classes])}),
  };
}
