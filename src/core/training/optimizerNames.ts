import type * as tf from '@tensorflow/tfjs';
import {kindOf, LoRAError, show} from '../../platform/errors';

/** The names that tfjs has for optimizers; the same with capitals too. */
const NAMES = ['sgd', 'adam', 'adamax', 'adagrad', 'adadelta', 'rmsprop'];
const CAPITALIZED = ['SGD', 'Adam', 'Adamax', 'Adagrad', 'Adadelta', 'RMSProp'];

/** @throws LoRAError if it is neither an optimizer nor the name of one of tfjs's. */
export function checkOptimizer(optimizer: unknown): asserts optimizer is string | tf.Optimizer {
  const isName = typeof optimizer === 'string';
  if (
    isName
      ? ![...NAMES, ...CAPITALIZED].includes(optimizer)
      : typeof (optimizer as Partial<tf.Optimizer> | null | undefined)?.minimize !== 'function'
  ) {
    throw new LoRAError(
      `optimizer must be an optimizer, such as adamW({learningRate: 1e-3}), or one of ${NAMES.map(show).join(', ')}, ` +
        `got ${isName ? show(optimizer) : kindOf(optimizer)}.`,
    );
  }
}
