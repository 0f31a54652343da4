import * as tf from '@tensorflow/tfjs';
import {conv2dTransposeForward} from './forward';
import {kernelAdaptation, LoRAKernelLayer} from './loraKernelLayer';
import type {LoRALayerArgs} from './loraLayer';

/**
 * A `Conv2DTranspose` layer with a low-rank update of its kernel: `y = f(x ∗ᵀ (W + s·A·B) + b)`.
 *
 * The kernel is `[kh, kw, out, in]`, and the factors multiply to that: `A` is `[kh, kw, out, rank]`, a transposed convolution like the
 * base's that starts from `rank` channels, and `B`, `[rank, in]`, one of size 1×1 before it, which makes these channels. As always `A`
 * starts random, here between ±1/√(kh·kw·out), and `B` at zero.
 *
 * Takes every stride, padding and data format that the base takes. Trains `rank · (kh·kw·out + in)` numbers instead of `kh·kw·out·in`.
 */
export class LoRAConv2DTranspose extends LoRAKernelLayer {
  static readonly className = 'LoRAConv2DTranspose';
  static readonly adaptation = kernelAdaptation('Conv2DTranspose');

  constructor(args: LoRALayerArgs) {
    super(args, LoRAConv2DTranspose.adaptation, conv2dTransposeForward);
  }
}
tf.serialization.registerClass(LoRAConv2DTranspose);

/** Makes a {@link LoRAConv2DTranspose}. */
export function loraConv2dTranspose(args: LoRALayerArgs): LoRAConv2DTranspose {
  return new LoRAConv2DTranspose(args);
}
