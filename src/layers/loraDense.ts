import * as tf from '@tensorflow/tfjs';
import {denseForward} from './forward';
import {kernelAdaptation, LoRAKernelLayer} from './loraKernelLayer';
import type {LoRALayerArgs} from './loraLayer';

/**
 * A `Dense` layer with a low-rank update of its kernel: `y = f(x·(W + s·A·B) + b)`, `A`: `[in, rank]`, `B`: `[rank, out]`.
 *
 * Takes inputs of any rank from 2, the last axis being the features. Trains `rank · (in + out)` numbers instead of `in · out`.
 */
export class LoRADense extends LoRAKernelLayer {
  static readonly className = 'LoRADense';
  static readonly adaptation = kernelAdaptation('Dense');

  constructor(args: LoRALayerArgs) {
    super(args, LoRADense.adaptation, denseForward);
  }
}
tf.serialization.registerClass(LoRADense);

/** Makes a {@link LoRADense}. */
export function loraDense(args: LoRALayerArgs): LoRADense {
  return new LoRADense(args);
}
