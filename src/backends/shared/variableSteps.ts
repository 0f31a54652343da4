import * as tf from '@tensorflow/tfjs';
import {assign} from './deferred';
import type {AdamUpdate, DescentUpdate, MomentumUpdate, OptimizerSteps, Update} from './optimizerSteps';

/** Steps of one variable. Each gives its new value, a tensor that the caller owns, and changes the slots. */
export interface VariableSteps extends Pick<OptimizerSteps, 'sumOfSquares'> {
  adam(...update: AdamUpdate): tf.Tensor;
  momentum(...update: MomentumUpdate): tf.Tensor;
  descend(...update: DescentUpdate): tf.Tensor;
}

/** Steps of one variable after the other. */
export function oneByOne(steps: VariableSteps): OptimizerSteps {
  const updateInTurn =
    <Of extends Update<unknown>>(step: (...update: Of) => tf.Tensor) =>
    (updates: readonly Of[]) => {
      updates.forEach(update => {
        replace([update[0]], [step(...update)]);
      });
    };
  return {
    ...steps,
    adam: updateInTurn((...update) => steps.adam(...update)),
    momentum: updateInTurn((...update) => steps.momentum(...update)),
    descend: updateInTurn((...update) => steps.descend(...update)),
  };
}

/** Gives variables other values, and frees the tensors that held these. */
export function replace(variables: readonly tf.Variable[], values: readonly tf.Tensor[]): void {
  variables.forEach((variable, i) => {
    assign(variable, values[i] as tf.Tensor);
  });
  tf.dispose([...values]);
}
