import * as tf from '@tensorflow/tfjs';
import {Prepared} from '../../../platform/tfjs/prepared';
import {isRecording} from '../../../platform/tfjs/engine';
import {registerOwn} from '../../../platform/tfjs/configs';
import {fieldsOf} from '../../../platform/tfjs/fields';
import type {KernelLayer} from '../../../platform/tfjs/layerFields';
import {stockClass} from '../../../platform/tfjs/stockClass';
import {FusedDepthwiseConv2D} from '../../../core/keras/fusedDepthwiseConv2d';
import {type Forward, onlyTensor} from '../../../core/layers/forward';
import {forwardOf} from '../../../core/layers/kinds';
import type {CallArgs} from '../../../core/layers/wrapperLayer';

// tfjs's layers fuse few activations into convolutions, and none into depthwise ones. Graphs fuse more, so that stock
// layers would take twice as long.

/** A `Conv2D` that fuses its activation with the convolution. */
export class FusedConv2D extends stockClass('Conv2D') {
  static readonly className: string = 'tfjs-lora/graph>FusedConv2D';
  static readonly adaptedLike = 'Conv2D';
  /** Read by the forward pass. */
  readonly fuses = true;
  private readonly prepared = new Prepared();

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    const {kernel} = fieldsOf<KernelLayer>(this);
    // The fused form has no gradient in the kernel.
    if (isRecording() && kernel.trainable) {
      return super.call(inputs, kwargs);
    }
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      const forward = forwardOf(this) as Forward;
      return forward(this, onlyTensor(inputs), {update: {}, prepared: this.prepared, kwargs});
    });
  }

  protected override disposeWeights(): number {
    this.prepared.dispose();
    return super.disposeWeights();
  }
}
registerOwn(FusedConv2D);

registerOwn(FusedDepthwiseConv2D);
export {FusedDepthwiseConv2D};
