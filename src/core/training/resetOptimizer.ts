import type * as tf from '@tensorflow/tfjs';
import {notReadyError} from '../../platform/errors';
import {checkModel} from '../../platform/tfjs/checkModel';
import {forgetSteps} from '../../platform/tfjs/slots';

/**
 * Resets the optimizer of a compiled model as if it were new: frees momenta and other slots, and counts steps from 0.
 * Does not recompile.
 *
 * Adam, Adamax, Momentum, RMSProp, Adagrad and Adadelta keep slots for each variable that trains. After `setAdapter`
 * they are the former adapter's; after a reset the optimizer starts on the new one. `fit` resets an optimizer by itself
 * if its slots have the shapes of another rank; a loop of your own does not.
 * `sgd` keeps nothing.
 *
 * @param model a compiled model.
 * @throws LoRAError `ERR_NOT_READY` if the model is not compiled.
 * @example
 *     setAdapter(model, adapter);
 *     resetOptimizer(model);
 * @experimental
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
