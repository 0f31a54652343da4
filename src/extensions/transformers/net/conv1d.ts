import * as tf from '@tensorflow/tfjs';
import {CONV1D_INITIALIZER} from '../../../core/peft/torchLayers';
import {registerOwn} from '../../../platform/tfjs/configs';

/** N(0, 0.02), as in `transformers`. It also marks `Dense` layers that are `Conv1D` in PyTorch. */
class Conv1DInitializer extends tf.serialization.Serializable {
  static readonly className = CONV1D_INITIALIZER;

  apply(shape: number[]): tf.Tensor {
    return tf.randomNormal(shape, 0, 0.02);
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {};
  }
}
registerOwn(Conv1DInitializer);

/** As an option of `tf.layers.dense`, which takes an initializer of ours only by its config. */
export const CONV1D = {
  kernelInitializer: {className: CONV1D_INITIALIZER, config: {}} as unknown as 'randomNormal',
};
