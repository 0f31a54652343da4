import type {Fusion} from './fusion';
import type {OptimizerSteps} from './optimizerSteps';
import {pointwiseSteps} from './pointwiseSteps';
import {nativeFusion} from './wasm/own/fused';
import {nativeSteps} from './wasm/own/optimizers';

/** What the current backend has to compute a convolution with the normalization and the relu after it in one, if anything. */
export function fusion(): Fusion | undefined {
  return nativeFusion();
}

/** The steps of optimizers that the current backend has in few launches, or `undefined` where tfjs's own operations have to do. */
export function optimizerSteps(): OptimizerSteps | undefined {
  return nativeSteps() ?? pointwiseSteps();
}
