import * as tf from '@tensorflow/tfjs';
import {unsupportedError} from '../../../platform/errors';

/** What models with a head for CTC and `ctcLoss` of the entry point `sound` have in common. */
export interface CTCSettings {
  /** The class that stands for no character. */
  blank: number;
  zeroInfinity: boolean;
}

/** The CTC loss of each example. */
type CTCLoss = (targets: tf.Tensor, logits: tf.Tensor, options: CTCSettings & {padding: number}) => tf.Tensor1D;

let supplied: CTCLoss | undefined;

/** Supplies the loss. Only pages that import the entry point of sounds load it. */
export function supplyCTCLoss(loss: CTCLoss): void {
  supplied = loss;
}

/**
 * The mean of the losses, each divided by the length of its target, as with `ctc_loss_reduction: "mean"` in
 * transformers.
 *
 * @throws LoRAError if nothing supplies the loss.
 */
export function meanCTCLoss(
  settings: CTCSettings,
): (targets: tf.Tensor, logits: tf.Tensor, padding: number) => tf.Scalar {
  const loss = supplied;
  if (loss === undefined) {
    throw unsupportedError(
      "The head of the model is for CTC, whose loss is in another entry point. Import it: import 'tfjs-lora/sound';",
    );
  }
  return (targets, logits, padding) =>
    tf.tidy(() => {
      const lengths = tf.sum(tf.cast(tf.notEqual(targets, padding), 'float32'), 1);
      return tf.mean(tf.div(loss(targets, logits, {...settings, padding}), tf.maximum(lengths, 1)));
    });
}

/** The settings in the config of a model; `undefined` if it has no padding token, which is the blank. */
export function ctcSettings(config: Readonly<Record<string, unknown>>): CTCSettings | undefined {
  const {pad_token_id: blank = 0, ctc_zero_infinity: zeroInfinity} = config;
  return Number.isSafeInteger(blank) && (blank as number) >= 0
    ? {blank: blank as number, zeroInfinity: zeroInfinity === true}
    : undefined;
}

/** The logarithm of a probability of 0: finite, so that no difference of two is NaN. */
export function logOfZero(): number {
  return tf.backend().floatPrecision() === 16 ? -1e4 : -1e30;
}
