import type * as tf from '@tensorflow/tfjs';
import {unsupportedError} from '../../platform/errors';

/** The field that tfjs's optimizers declare protected. Those that also keep it as a tensor have the function. */
interface RateFields {
  learningRate?: unknown;
  setLearningRate?: (rate: number) => void;
}

/**
 * The learning rate of an optimizer, of tfjs or of this library.
 *
 * @throws LoRAError if it has none.
 */
export function learningRateOf(optimizer: tf.Optimizer): number {
  const {learningRate} = optimizer as RateFields;
  if (typeof learningRate !== 'number') {
    throw unsupportedError(`The optimizer (${optimizer.getClassName()}) has no learningRate that is a number.`);
  }
  return learningRate;
}

/** Gives an optimizer another learning rate, from its next step on. */
export function setLearningRate(optimizer: tf.Optimizer, rate: number): void {
  const fields = optimizer as RateFields;
  if (typeof fields.setLearningRate === 'function') {
    fields.setLearningRate(rate);
  } else {
    fields.learningRate = rate;
  }
}
