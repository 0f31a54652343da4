import * as tf from '@tensorflow/tfjs';
import {conv2dTransposeForward, type ForwardCall} from './forward';
import {LoRALayer, type LoRALayerArgs} from './loraLayer';
import {channelsOf, type ConvLayer, fieldsOf} from './stock';

/**
 * A `Conv2DTranspose` layer with a low-rank update of its kernel: `y = f(x ∗ᵀ (W + s·A·B) + b)`.
 *
 * The kernel is `[kh, kw, out, in]`, and the factors multiply to that: `A` is `[kh, kw, out, rank]`, a transposed convolution like the
 * base's that starts from `rank` channels, and `B`, `[rank, in]`, one of size 1×1 before it, which makes these channels. As always `A`
 * starts random, here between ±1/√(kh·kw·out), and `B` at zero.
 *
 * Takes every stride, padding and data format that the base takes. Trains `rank · (kh·kw·out + in)` numbers instead of `kh·kw·out·in`.
 */
export class LoRAConv2DTranspose extends LoRALayer {
  static readonly className = 'LoRAConv2DTranspose';

  constructor(args: LoRALayerArgs) {
    super(args, 'Conv2DTranspose');
  }

  protected override kernelShape(inputShape: tf.Shape): number[] {
    const {kernelSize, filters} = fieldsOf<ConvLayer>(this.baseLayer);
    return [...kernelSize, filters, channelsOf(inputShape, this.baseLayer)];
  }

  protected override forward(x: tf.Tensor, call: ForwardCall): tf.Tensor {
    return conv2dTransposeForward(this.baseLayer, x, call);
  }
}
tf.serialization.registerClass(LoRAConv2DTranspose);

/** Makes a {@link LoRAConv2DTranspose}. */
export function loraConv2dTranspose(args: LoRALayerArgs): LoRAConv2DTranspose {
  return new LoRAConv2DTranspose(args);
}
