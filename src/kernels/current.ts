import type * as tf from '@tensorflow/tfjs';
import type {Fusion} from './fusion';
import {hostSteps} from './node/hostSteps';
import type {OptimizerSteps} from './optimizerSteps';
import {pointwiseSteps} from './pointwiseSteps';
import {nativeFusion} from './wasm/module/fused';
import {nativeSteps} from './wasm/module/optimizers';

/** What computes a convolution, the normalization and the relu after it together on the current backend, if anything does. */
export function fusion(): Fusion | undefined {
  return nativeFusion();
}

/**
 * The steps of optimizers that the current backend has in few launches for variables with these gradients, or `undefined` where tfjs's own
 * operations compute them.
 */
export function optimizerSteps(gradients: readonly tf.Tensor[]): OptimizerSteps | undefined {
  return nativeSteps() ?? pointwiseSteps() ?? hostSteps(gradients);
}
