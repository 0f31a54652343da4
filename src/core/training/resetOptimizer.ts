import * as tf from '@tensorflow/tfjs';
import {notReadyError} from '../../platform/errors';
import {checkModel} from '../rewire/walk';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {Counters, Slot} from '../../platform/tfjs/training';

/**
 * Makes the optimizer of a compiled model forget what it has seen, as if it were new: momenta and other slots are
 * freed, and steps are counted from 0. Nothing is compiled.
 *
 * Adam, Adamax, Momentum, RMSProp, Adagrad and Adadelta keep slots for each variable that trains. After `setAdapter`
 * they are the former adapter's, and of the former rank's shape; after a reset the optimizer starts on the new one.
 * `sgd` keeps nothing.
 *
 * @param model a compiled model.
 * @throws LoRAError `ERR_NOT_READY` if the model is not compiled.
 * @example
 *     setAdapter(model, adapter);
 *     resetOptimizer(model);
 */
export function resetOptimizer(model: tf.LayersModel): void {
  checkModel(model);
  const optimizer = model.optimizer as tf.Optimizer | undefined;
  if (optimizer === undefined) {
    throw notReadyError(
      'The model is not compiled, so it has no optimizer. Call model.compile({optimizer, loss}) first.',
    );
  }
  forgetSteps(optimizer);
}

/** Makes an optimizer, and those inside it, as if they were new. */
export function forgetSteps(optimizer: tf.Optimizer): void {
  for (const value of Object.values(optimizer)) {
    if (isSlots(value)) {
      value.forEach(({variable}) => variable.dispose());
      value.length = 0;
    }
  }
  const {inner} = optimizer as {inner?: tf.Optimizer};
  if (inner !== undefined) {
    forgetSteps(inner);
  }
  const counters = fieldsOf<Counters>(optimizer);
  counters.iterations_ = 0;
  restart(counters.accBeta1, counters.beta1);
  restart(counters.accBeta2, counters.beta2);
  restart(counters.iteration, 0);
}

/** Whether a field holds slots: a list with one for each variable that has been trained. */
export function isSlots(value: unknown): value is Slot[] {
  return (
    Array.isArray(value) && value.every(entry => (entry as Partial<Slot> | undefined)?.variable instanceof tf.Variable)
  );
}

function restart(counter: tf.Variable | undefined, start: number): void {
  if (counter !== undefined) {
    tf.tidy(() => counter.assign(tf.scalar(start)));
  }
}
