import * as tf from '@tensorflow/tfjs';
import {Prepared} from '../../ops/lazyOp';
import {isRecording} from '../../tfjs/engine';
import {completedEntry} from '../../tfjs/configs';
import {fieldsOf} from '../../tfjs/fields';
import type {DepthwiseLayer, KernelLayer} from '../../tfjs/layerFields';
import {stockClass} from '../../tfjs/stockClass';
import {type Forward, onlyTensor} from '../../layers/forward';
import {forwardOf} from '../../layers/kinds';
import type {CallArgs} from '../../layers/wrapperLayer';

// Layers of tfjs fuse few activations into convolutions, and nothing into depthwise ones. The executor of a graph fuses
// more, so that a graph of stock layers would take twice its time.

/** The forward pass of the kind that a layer belongs to. */
function forwardFor(layer: tf.layers.Layer): Forward {
  return forwardOf(layer) as Forward;
}

/** A `Conv2D` that computes its activation in one with the convolution. */
export class FusedConv2D extends stockClass('Conv2D') {
  static readonly className: string = 'FusedConv2D';
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
      return forwardFor(this)(this, onlyTensor(inputs), {update: {}, prepared: this.prepared, kwargs});
    });
  }

  protected override disposeWeights(): number {
    this.prepared.dispose();
    return super.disposeWeights();
  }
}
tf.serialization.registerClass(FusedConv2D);

/**
 * A `DepthwiseConv2D` that computes its bias and activation in one with the convolution, and heeds its dilation rate.
 */
export class FusedDepthwiseConv2D extends stockClass('DepthwiseConv2D') {
  static readonly className: string = 'FusedDepthwiseConv2D';
  /** Read by the forward pass. */
  readonly fuses = true;

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      return forwardFor(this)(this, onlyTensor(inputs), {update: {}, prepared: new Prepared(), kwargs});
    });
  }

  /** The stock class writes its regularizer in place of its constraint. */
  override getConfig(): tf.serialization.ConfigDict {
    return completedEntry(this, {className: 'DepthwiseConv2D', config: super.getConfig()}).config;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape | tf.Shape[] {
    const {padding, kernelSize, strides, dilationRate, depthMultiplier} = fieldsOf<DepthwiseLayer>(this);
    const [batch = null, height = null, width = null, channels = null] = inputShape as tf.Shape;
    const length = (size: number | null, axis: 0 | 1) => {
      const reach = ((kernelSize[axis] ?? 1) - 1) * (dilationRate[axis] ?? 1);
      return size === null ? null : Math.ceil((size - (padding === 'same' ? 0 : reach)) / (strides[axis] ?? 1));
    };
    return [batch, length(height, 0), length(width, 1), channels === null ? null : channels * depthMultiplier];
  }
}
tf.serialization.registerClass(FusedDepthwiseConv2D);
