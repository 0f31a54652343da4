import * as tf from '@tensorflow/tfjs';
import {type Forward, onlyShape} from '../../../core/layers/forward';
import {registerKind} from '../../../core/layers/registry';
import {fieldsOf} from '../../../platform/tfjs/fields';
import {blockAdaptation, blockClass, type BlockLayer, denseOnBlocks, LoRABlockLayer} from './blockLayer';
import {registerOwn} from '../../../platform/tfjs/configs';

/** The fields of a stock `Dense` before it is built. */
interface DenseFields {
  units: number;
}

const forward: Forward = (layer, x, call) => {
  const {rows} = (layer as BlockLayer).matrix;
  return denseOnBlocks(layer, x, call, y => tf.reshape(y, [...x.shape.slice(0, -1), rows]));
};

/**
 * A `Dense` with a quantized kernel: `y = f(x·Wᵀ + b)`, with a row of `W` for each output. The kernel never trains; the
 * bias may. Made by `quantizeBase`.
 *
 * @experimental
 */
export class QuantizedDense extends blockClass('Dense', forward) {
  static readonly className: string = 'tfjs-lora/quantized>QuantizedDense';

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const {units} = fieldsOf<DenseFields>(this);
    const width = onlyShape(inputShape).at(-1) ?? 0;
    this.addBlocks(units, width);
    this.addBias(units);
    this.inputSpec = [{minNDim: 2, axes: {[-1]: width}}] as tf.layers.Layer['inputSpec'];
    this.built = true;
  }
}
registerOwn(QuantizedDense);

/**
 * A {@link QuantizedDense} with a low-rank update: `y = f(x·(Wᵀ + s·A·B) + b)`. Merges to a `Dense`.
 *
 * @experimental
 */
export class LoRAQuantizedDense extends LoRABlockLayer {
  static readonly className = 'tfjs-lora/quantized>LoRAQuantizedDense';
  static readonly adaptation = blockAdaptation(
    QuantizedDense.className,
    'kernel',
    {form: 'linear', forward},
    true,
    ({rows, width}) => [width, rows],
  );
}
registerOwn(LoRAQuantizedDense);
registerKind(LoRAQuantizedDense);
