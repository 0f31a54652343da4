import * as tf from '@tensorflow/tfjs';
import {conv3dForward} from './forward';
import {kernelAdaptation, LoRAKernelLayer} from './loraKernelLayer';
import type {LoRALayerArgs} from './loraLayer';

/**
 * A `Conv3D` layer with a low-rank update of its kernel: `y = f(x ∗ (W + s·A·B) + b)`. `A`, `[kd, kh, kw, in, rank]`, is a convolution
 * like the base's with `rank` filters, and `B`, `[rank, out]`, one of size 1×1×1.
 *
 * Takes every stride, padding, data format and dilation that the base takes; trains dilated convolutions too, for which tfjs itself has
 * no gradient, and trains on wasm, where tfjs's own gradients are wrong. Trains `rank · (kd·kh·kw·in + out)` numbers instead of
 * `kd·kh·kw·in·out`. Factors are laid out as PEFT's, transposed.
 */
export class LoRAConv3D extends LoRAKernelLayer {
  static readonly className = 'LoRAConv3D';
  static readonly adaptation = kernelAdaptation('Conv3D');

  constructor(args: LoRALayerArgs) {
    super(args, LoRAConv3D.adaptation, conv3dForward);
  }
}
tf.serialization.registerClass(LoRAConv3D);

/** Makes a {@link LoRAConv3D}. */
export function loraConv3d(args: LoRALayerArgs): LoRAConv3D {
  return new LoRAConv3D(args);
}
