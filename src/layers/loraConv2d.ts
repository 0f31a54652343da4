import * as tf from '@tensorflow/tfjs';
import {conv2dForward, type ForwardCall} from './forward';
import {LoRALayer, type LoRALayerArgs} from './loraLayer';
import {channelsOf, type ConvLayer, fieldsOf} from './stock';

/**
 * A `Conv2D` layer with a low-rank update of its kernel: `y = f(x ∗ (W + s·A·B) + b)`. `A`, `[kh, kw, in, rank]`, is a convolution like
 * the base's with `rank` filters, and `B`, `[rank, out]`, one of size 1×1.
 *
 * Takes every stride, padding, data format and dilation that the base takes; trains dilated convolutions too, for which tfjs itself has
 * no gradient. Trains `rank · (kh·kw·in + out)` numbers instead of `kh·kw·in·out`. Factors are laid out as PEFT's, transposed.
 */
export class LoRAConv2D extends LoRALayer {
  static readonly className = 'LoRAConv2D';

  constructor(args: LoRALayerArgs) {
    super(args, 'Conv2D');
  }

  protected override kernelShape(inputShape: tf.Shape): number[] {
    const {kernelSize, filters} = fieldsOf<ConvLayer>(this.baseLayer);
    return [...kernelSize, channelsOf(inputShape, this.baseLayer), filters];
  }

  protected override forward(x: tf.Tensor, call: ForwardCall): tf.Tensor {
    return conv2dForward(this.baseLayer, x, call);
  }
}
tf.serialization.registerClass(LoRAConv2D);

/** Makes a {@link LoRAConv2D}. */
export function loraConv2d(args: LoRALayerArgs): LoRAConv2D {
  return new LoRAConv2D(args);
}
