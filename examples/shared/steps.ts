import * as tf from '@tensorflow/tfjs';

/** Called after each step. Whether to go on. */
export type OnStep = (step: number, steps: number, loss: number) => boolean;

/** Waits until what was said meanwhile is heard: a call to stop, say. */
export function heard(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve));
}

/** Tells each of the steps that a fit of a model has, and ends the fit with the step after which it is not to go on. */
export function tellSteps(model: tf.LayersModel, steps: number, onStep?: OnStep): tf.CustomCallback {
  let step = 0;
  return new tf.CustomCallback({
    onBatchEnd: async (_, logs) => {
      await heard();
      if (onStep?.(++step, steps, Number(logs?.loss)) === false) {
        model.stopTraining = true;
      }
    },
  });
}
