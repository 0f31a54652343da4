import * as tf from '@tensorflow/tfjs';
import {channelsLast} from '../../../core/layers/convolutions';
import {type Forward, onlyShape} from '../../../core/layers/forward';
import {registerKind} from '../../../core/layers/registry';
import {fieldsOf} from '../../../platform/tfjs/fields';
import type {ConvLayer} from '../../../platform/tfjs/layerFields';
import {blockAdaptation, blockClass, type BlockLayer, denseOnBlocks, LoRABlockLayer} from './blockLayer';
import {registerOwn} from '../../../platform/tfjs/configs';

/** Pixels are rows. */
const forward: Forward = (layer, x, call) => {
  const {rows} = (layer as BlockLayer).matrix;
  const {last, restore} = channelsLast(x, fieldsOf<ConvLayer>(layer));
  return denseOnBlocks(layer, last, call, y => restore(tf.reshape(y, [...last.shape.slice(0, -1), rows])));
};

/**
 * A 1×1 `Conv2D` without strides, with a quantized kernel: a `QuantizedDense` for each pixel. Made by `quantizeBase`.
 *
 * @experimental
 */
export class QuantizedConv2D extends blockClass('Conv2D', forward) {
  static readonly className: string = 'tfjs-lora/quantized>QuantizedConv2D';
  static readonly nameInAdapters = 'Conv2D';

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const {dataFormat, filters} = fieldsOf<ConvLayer>(this);
    const axis = dataFormat === 'channelsFirst' ? 1 : 3;
    const width = onlyShape(inputShape)[axis] ?? 0;
    this.addBlocks(filters, width);
    this.addBias(filters);
    this.inputSpec = [{ndim: 4, axes: {[axis]: width}}] as tf.layers.Layer['inputSpec'];
    this.built = true;
  }
}
registerOwn(QuantizedConv2D);

/**
 * A {@link QuantizedConv2D} with a low-rank update. Merges to a `Conv2D`.
 *
 * @experimental
 */
export class LoRAQuantizedConv2D extends LoRABlockLayer {
  static readonly className = 'tfjs-lora/quantized>LoRAQuantizedConv2D';
  static readonly adaptation = blockAdaptation(
    QuantizedConv2D.className,
    'kernel',
    {form: 'linear', forward},
    true,
    ({rows, width}) => [1, 1, width, rows],
  );
}
registerOwn(LoRAQuantizedConv2D);
registerKind(LoRAQuantizedConv2D);
