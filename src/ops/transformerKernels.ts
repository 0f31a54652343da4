import * as tf from '@tensorflow/tfjs';
import {type TransformerKernels, transformerKernelsOf} from '../backends/transformer';

/** What the current backend has in one launch, or `undefined` where operations are composed of tfjs's own. */
export function transformerKernels(): TransformerKernels | undefined {
  return transformerKernelsOf(tf.getBackend());
}

/** Whether rotations of some heads of a tensor cost no more than one of all. */
export function turnsSomeHeads(): boolean {
  return transformerKernels()?.turnsSome === true;
}
