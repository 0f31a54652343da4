import * as tf from '@tensorflow/tfjs';
import {asFloat, type Forward, onlyShape} from '../../../core/layers/forward';
import {registerKind} from '../../../core/layers/registry';
import type {Update} from '../../../core/ops/update';
import {fieldsOf} from '../../../platform/tfjs/fields';
import {blockAdaptation, blockClass, type BlockLayer, denseOnBlocks, LoRABlockLayer} from './blockLayer';
import {registerOwn} from '../../../platform/tfjs/configs';
import type {KernelLayer} from '../../../platform/tfjs/layerFields';
import {deferProduct} from '../ops/deferProduct';

/** The fields of a stock `Dense` before it is built. */
interface DenseFields {
  units: number;
}

const forward: Forward = (layer, x, call) => {
  const {rows} = (layer as BlockLayer).matrix;
  const deferred = deferredOutput(layer as BlockLayer, x, call.update);
  return deferred ?? denseOnBlocks(layer, x, call, y => tf.reshape(y, [...x.shape.slice(0, -1), rows]));
};

/** A product that waits for its reader, if neither more than a low-rank update nor a bias belongs to it. */
function deferredOutput(layer: BlockLayer, x: tf.Tensor, {factors, ...otherUpdates}: Update): tf.Tensor | undefined {
  const {bias, activation} = fieldsOf<KernelLayer>(layer);
  const isPlain = bias === null && activation.getClassName() === 'linear';
  return isPlain && Object.values<unknown>({...otherUpdates}).every(other => other === undefined)
    ? deferProduct(asFloat(x), {blocks: layer.blocks.read(), matrix: layer.matrix, factors: factors ?? null})
    : undefined;
}

/**
 * A `Dense` with a quantized kernel: `y = f(x·Wᵀ + b)`, with a row of `W` for each output. The kernel never trains; the
 * bias may. Made by `quantizeBase`.
 *
 * @experimental
 */
export class QuantizedDense extends blockClass('Dense', forward) {
  static readonly className: string = 'tfjs-lora/quantized>QuantizedDense';
  static readonly nameInAdapters = 'Dense';

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
