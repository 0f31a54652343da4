import * as tf from '@tensorflow/tfjs';
import {conv2dForward} from './forward';
import {kernelAdaptation, LoRAKernelLayer} from './loraKernelLayer';
import type {LoRALayerArgs} from './loraLayer';

/**
 * A `Conv2D` layer with a low-rank update of its kernel: `y = f(x ∗ (W + s·A·B) + b)`. `A`, `[kh, kw, in, rank]`, is a convolution like
 * the base's with `rank` filters, and `B`, `[rank, out]`, one of size 1×1.
 *
 * Takes every stride, padding, data format and dilation that the base takes; trains dilated convolutions too, for which tfjs itself has
 * no gradient. Trains `rank · (kh·kw·in + out)` numbers instead of `kh·kw·in·out`. Factors are laid out as PEFT's, transposed.
 */
export class LoRAConv2D extends LoRAKernelLayer {
  static readonly className = 'LoRAConv2D';
  static readonly adaptation = kernelAdaptation('Conv2D');

  constructor(args: LoRALayerArgs) {
    super(args, LoRAConv2D.adaptation, conv2dForward);
  }
}
tf.serialization.registerClass(LoRAConv2D);

/** Makes a {@link LoRAConv2D}. */
export function loraConv2d(args: LoRALayerArgs): LoRAConv2D {
  return new LoRAConv2D(args);
}
