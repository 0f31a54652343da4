import * as tf from '@tensorflow/tfjs';
import {pendingKernels} from './capabilities';

/** Has each fit of each model wait for the kernels of the current backend that are being loaded. */
class KernelWatch extends tf.Callback {
  override async onTrainBegin(): Promise<void> {
    await pendingKernels.current()?.over();
  }
}
tf.registerCallbackConstructor(0, KernelWatch);
