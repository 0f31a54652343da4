import * as tf from '@tensorflow/tfjs';
import {conv3dForward, type ForwardCall} from './forward';
import {LoRALayer, type LoRALayerArgs} from './loraLayer';
import {channelsOf, type ConvLayer, fieldsOf} from './stock';

/**
 * A `Conv3D` layer with a low-rank update of its kernel: `y = f(x ∗ (W + s·A·B) + b)`. `A`, `[kd, kh, kw, in, rank]`, is a convolution
 * like the base's with `rank` filters, and `B`, `[rank, out]`, one of size 1×1×1.
 *
 * Takes every stride, padding, data format and dilation that the base takes; trains dilated convolutions too, for which tfjs itself has
 * no gradient, and trains on wasm, where tfjs's own gradients are wrong. Trains `rank · (kd·kh·kw·in + out)` numbers instead of
 * `kd·kh·kw·in·out`. Factors are laid out as PEFT's, transposed.
 */
export class LoRAConv3D extends LoRALayer {
  static readonly className = 'LoRAConv3D';

  constructor(args: LoRALayerArgs) {
    super(args, 'Conv3D');
  }

  protected override kernelShape(inputShape: tf.Shape): number[] {
    const {kernelSize, filters} = fieldsOf<ConvLayer>(this.baseLayer);
    return [...kernelSize, channelsOf(inputShape, this.baseLayer), filters];
  }

  protected override forward(x: tf.Tensor, call: ForwardCall): tf.Tensor {
    return conv3dForward(this.baseLayer, x, call);
  }
}
tf.serialization.registerClass(LoRAConv3D);

/** Makes a {@link LoRAConv3D}. */
export function loraConv3d(args: LoRALayerArgs): LoRAConv3D {
  return new LoRAConv3D(args);
}
