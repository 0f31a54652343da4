import type * as tf from '@tensorflow/tfjs';
import {detached, isRecording} from '../../../platform/tfjs/engine';
import type {Metric} from '../../../platform/tfjs/metric';
import {crossEntropyOfHead} from '../ops/crossEntropy';
import type {ClassLossOptions} from '../ops/weightedCrossEntropy';
import {sumsOfMetric} from './metrics';
import type {OutputHead} from './outputHead';

/** The cross-entropy and metrics of logits, as functions of the states before the head. */
export interface LossOfHead {
  loss(targets: tf.Tensor, states: tf.Tensor3D, weights: Pick<ClassLossOptions, 'weights'>): tf.Scalar;
  /** The metric of an index. Called after the loss, with the same states. */
  metric(index: number, targets: tf.Tensor, states: tf.Tensor3D): tf.Tensor;
}

/** Computes the loss in chunks of positions, together with the metrics that are made of sums. */
export function lossOfHead(head: OutputHead, metrics: readonly Metric[], options: ClassLossOptions): LossOfHead {
  const known = metrics.map(measure => sumsOfMetric(measure));
  let latest: {observed: tf.Tensor[]; logits?: tf.Tensor} = {observed: []};
  return {
    loss: (targets, states, weights) => {
      const {loss, ...rest} = crossEntropyOfHead(head, targets, states, {...options, ...weights}, (own, logits) =>
        known.flatMap(each => each?.sumsOf(own, logits) ?? []),
      );
      latest = rest;
      return loss;
    },
    metric: (index, targets, states) => {
      const ofSums = known[index];
      if (ofSums === undefined) {
        // A function of the user reads the logits.
        latest.logits ??= detached(() => head.apply(states, isRecording()));
        return (metrics[index] as Metric)(targets, latest.logits);
      }
      const from = 2 * known.slice(0, index).filter(Boolean).length;
      return ofSums.valueOf(latest.observed[from] as tf.Tensor, latest.observed[from + 1] as tf.Tensor);
    },
  };
}
