import * as tf from '@tensorflow/tfjs';
import {type TransformerKernels, transformerKernelsOf} from '../kernels/transformer';

/** The operations that the current backend has in one launch; `undefined` where they are composed of tfjs's own. */
export function transformerKernels(): TransformerKernels | undefined {
  return transformerKernelsOf(tf.getBackend());
}

/** Whether rotations of some heads of a tensor cost no more than one of all. */
export function turnsSomeHeads(): boolean {
  return transformerKernels()?.turnsSome === true;
}
