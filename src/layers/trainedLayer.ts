import * as tf from '@tensorflow/tfjs';
import {type CallArgs, type WrapperArgs, WRAPPER_KIND, WrapperLayer} from './wrapperLayer';

/** A layer that trains in full and belongs to the adapter. It can keep its original weights, to be had back when it is removed. */
export class TrainedLayer extends WrapperLayer {
  static readonly className = 'TrainedLayer';
  override readonly [WRAPPER_KIND] = 'trained' as const;

  constructor(args: WrapperArgs) {
    super(args, 'everything');
  }

  override adapterWeights(): Map<string, tf.LayerVariable> {
    return this.trainedWeights();
  }

  protected override compute(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    return this.computeBase(inputs, kwargs);
  }
}
tf.serialization.registerClass(TrainedLayer);
