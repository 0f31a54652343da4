import * as tf from '@tensorflow/tfjs';
import {denseForward, type ForwardCall} from './forward';
import {LoRALayer, type LoRALayerArgs} from './loraLayer';
import {channelsOf, type DenseLayer, fieldsOf} from './stock';

/**
 * A `Dense` layer with a low-rank update of its kernel: `y = f(x·(W + s·A·B) + b)`, `A`: `[in, rank]`, `B`: `[rank, out]`.
 *
 * Takes inputs of any rank from 2, the last axis being the features. Trains `rank · (in + out)` numbers instead of `in · out`.
 */
export class LoRADense extends LoRALayer {
  static readonly className = 'LoRADense';

  constructor(args: LoRALayerArgs) {
    super(args, 'Dense');
  }

  protected override kernelShape(inputShape: tf.Shape): number[] {
    return [channelsOf(inputShape, this.baseLayer), fieldsOf<DenseLayer>(this.baseLayer).units];
  }

  protected override forward(x: tf.Tensor, call: ForwardCall): tf.Tensor {
    return denseForward(this.baseLayer, x, call);
  }
}
tf.serialization.registerClass(LoRADense);

/** Makes a {@link LoRADense}. */
export function loraDense(args: LoRALayerArgs): LoRADense {
  return new LoRADense(args);
}
