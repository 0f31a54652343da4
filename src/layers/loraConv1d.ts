import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../errors';
import {conv1dForward, type ForwardCall} from './forward';
import {LoRALayer, type LoRALayerArgs} from './loraLayer';
import {channelsOf, type ConvLayer, fieldsOf} from './stock';

/**
 * A `Conv1D` layer with a low-rank update of its kernel: `y = f(x ∗ (W + s·A·B) + b)`. `A`, `[k, in, rank]`, is a convolution like the
 * base's with `rank` filters, and `B`, `[rank, out]`, one of size 1.
 *
 * Takes every stride, padding and dilation that the base computes; trains dilated convolutions too, for which tfjs itself has no
 * gradient. Trains `rank · (k·in + out)` numbers instead of `k·in·out`. Factors are laid out as PEFT's, transposed.
 */
export class LoRAConv1D extends LoRALayer {
  static readonly className = 'LoRAConv1D';

  /**
   * @throws LoRAError also for the padding `causal`, which tfjs declares and does not compute, and for channels-first inputs: a stock
   * `Conv1D` leaves its data format out of its config, so that it could be neither saved nor merged.
   */
  constructor(args: LoRALayerArgs) {
    super(args, 'Conv1D');
    const {padding, dataFormat} = fieldsOf<{padding: string; dataFormat: string}>(this.baseLayer);
    if (padding === 'causal') {
      throw new LoRAError(
        `Layer "${this.name}" has padding "causal", which tfjs does not compute. ` +
          'Put zeros before its input and use padding "valid", or exclude the layer.',
      );
    }
    if (dataFormat === 'channelsFirst') {
      throw new LoRAError(
        `Layer "${this.name}" has dataFormat "channelsFirst", which tfjs forgets when it saves a Conv1D. ` +
          'Use "channelsLast" after a Permute layer, or exclude the layer.',
      );
    }
  }

  protected override kernelShape(inputShape: tf.Shape): number[] {
    const {kernelSize, filters} = fieldsOf<ConvLayer>(this.baseLayer);
    return [...kernelSize, channelsOf(inputShape, this.baseLayer), filters];
  }

  protected override forward(x: tf.Tensor, call: ForwardCall): tf.Tensor {
    return conv1dForward(this.baseLayer, x, call);
  }
}
tf.serialization.registerClass(LoRAConv1D);

/** Makes a {@link LoRAConv1D}. */
export function loraConv1d(args: LoRALayerArgs): LoRAConv1D {
  return new LoRAConv1D(args);
}
