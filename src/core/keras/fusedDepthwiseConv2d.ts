import * as tf from '@tensorflow/tfjs';
import {Prepared} from '../../platform/tfjs/prepared';
import {completedEntry} from '../../platform/tfjs/configs';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {DepthwiseLayer} from '../../platform/tfjs/layerFields';
import {stockClass} from '../../platform/tfjs/stockClass';
import {type Forward, onlyTensor} from '../layers/forward';
import {forwardOf} from '../layers/kinds';
import type {CallArgs} from '../layers/layerArgs';

const StockDepthwiseConv2D = /* @__PURE__ */ stockClass('DepthwiseConv2D');

/**
 * A `DepthwiseConv2D` that fuses its bias and activation with the convolution, and applies its dilation rate. Register
 * it where one is made, so that pages which adapt stock models do not load it.
 */
export class FusedDepthwiseConv2D extends StockDepthwiseConv2D {
  static readonly className: string = 'tfjs-lora>FusedDepthwiseConv2D';
  static readonly adaptedLike = 'DepthwiseConv2D';
  /** Read by the forward pass. */
  readonly fuses = true;

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      return (forwardOf(this) as Forward)(this, onlyTensor(inputs), {update: {}, prepared: new Prepared(), kwargs});
    });
  }

  /** The stock class writes its regularizer instead of its constraint. */
  override getConfig(): tf.serialization.ConfigDict {
    return completedEntry(this, {className: 'DepthwiseConv2D', config: super.getConfig()}).config;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape | tf.Shape[] {
    const {padding, kernelSize, strides, dilationRate, depthMultiplier, dataFormat} = fieldsOf<DepthwiseLayer>(this);
    const first = dataFormat === 'channelsFirst';
    const [batch = null, ...image] = inputShape as tf.Shape;
    const [height = null, width = null, channels = null] = first ? [image[1], image[2], image[0]] : image;
    const length = (size: number | null, axis: 0 | 1) => {
      const reach = ((kernelSize[axis] ?? 1) - 1) * (dilationRate[axis] ?? 1);
      return size === null ? null : Math.ceil((size - (padding === 'same' ? 0 : reach)) / (strides[axis] ?? 1));
    };
    const space = [length(height, 0), length(width, 1)];
    const outputs = channels && channels * depthMultiplier;
    return first ? [batch, outputs, ...space] : [batch, ...space, outputs];
  }
}
