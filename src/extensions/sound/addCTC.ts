import * as tf from '@tensorflow/tfjs';
import {addLosses} from '../../core/training/losses';
import {unsupportedError} from '../../platform/errors';
import {hubRecordOf} from '../transformers/net/hubRecord';
import {ctcSettings} from '../transformers/ops/ctc';
import {ctcLoss} from './ctcLoss';

addLosses({
  ctc: {
    lossFor: meanCTCLoss,
    takes: [],
    takesLogits: true,
    metrics: {},
    targets: 'transcripts',
    output: 'of logits, [batch, frames, classes]',
    fits: shape => shape.length === 3,
    targetShape: () => null, // of another length than the output
  },
});

/**
 * The mean of the losses, each divided by the length of its target, as with `ctc_loss_reduction: "mean"` in
 * transformers.
 *
 * @throws LoRAError if the config of the model has no padding token.
 */
function meanCTCLoss(
  model: tf.LayersModel,
): (targets: tf.Tensor, logits: tf.Tensor, options: {ignoreIndex?: number}) => tf.Scalar {
  const settings = ctcSettings((hubRecordOf(model)?.config ?? {}) as Record<string, unknown>);
  if (settings === undefined) {
    throw unsupportedError('The config of the model has no pad_token_id, the blank of CTC.');
  }
  return (targets, logits, {ignoreIndex: padding = -100}) =>
    tf.tidy(() => {
      const lengths = tf.sum(tf.cast(tf.notEqual(targets, padding), 'float32'), 1);
      return tf.mean(tf.div(ctcLoss(targets, logits, {...settings, padding}), tf.maximum(lengths, 1)));
    });
}
