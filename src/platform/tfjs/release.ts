import type * as tf from '@tensorflow/tfjs';

/** The field of a model for what frees the optimizer that it is compiled with. All copies of the library share it. */
const RELEASE = Symbol.for('tfjs-lora.releaseOptimizer');

interface CompiledModel extends tf.LayersModel {
  [RELEASE]?: () => void;
}

/** Frees the optimizers of this library that a model is compiled with, and no other model that still exists. */
export function releaseOptimizer(model: tf.LayersModel): void {
  (model as CompiledModel)[RELEASE]?.();
}

/** Decides what `releaseOptimizer` does for a model. */
export function setRelease(model: tf.LayersModel, release: () => void): void {
  (model as CompiledModel)[RELEASE] = release;
}
