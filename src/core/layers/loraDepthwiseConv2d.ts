import * as tf from '@tensorflow/tfjs';
import {depthwiseConv2d} from '../ops/depthwise';
import type {StockCall} from '../ops/linear';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {DepthwiseLayer} from '../../platform/tfjs/layerFields';
import type {Adaptation} from './adaptation';
import {channelsLast, convSettings, deferral, isFused} from './convolutions';
import {applyLinear, type Compute, type Forward} from './forward';
import {LoRALayer} from './loraLayer';
import {registerOwn} from '../../platform/tfjs/configs';

/** `DepthwiseConv2D`: both formats. The stock layer fuses nothing and ignores dilation; the fused one does neither. */
const depthwiseConv2dForward: Forward = (layer, x, call) => {
  const fields = fieldsOf<DepthwiseLayer>(layer);
  const {depthwiseKernel: kernel, bias, activation, dataFormat} = fields;
  const fuses = isFused(layer);
  const geometry = convSettings(fuses ? fields : {...fields, dilationRate: [1, 1]});
  const compute: Compute = (input, weights, after) =>
    depthwiseConv2d(
      input as tf.Tensor4D,
      {...weights, fuses, trains: weights.trains || (fuses && kernel.trainable)},
      geometry,
      after,
    );
  const {last, restore} = channelsLast(x, fields);
  const weights = {kernel, bias, activation, dataFormat};
  const defer = !fuses && kernel.shape[3] === 1 ? deferral(call.prepared, fields, geometry, true) : undefined;
  const stock: StockCall = {...(fuses && {fuses: 'relu6 too'}), defer};
  return applyLinear(compute, last, weights, call, stock, restore);
};

/**
 * A `DepthwiseConv2D` layer with a low-rank update of its kernel: `y = f(x ∗ (W + s·A·B) + b)`.
 *
 * In a depthwise convolution each channel has a separate kernel, with `kh·kw` entries for each of its `mult` outputs.
 * Separate factors for each kernel, as LoRA of a grouped convolution has, would have more parameters than the layer. So
 * all channels share one pair: `A`, `[kh, kw, rank]`, holds `rank` filters, and `B`, `[rank, in, mult]`, holds the
 * coefficients of each channel.
 *
 * Trains `rank · (kh·kw + in·mult)` parameters instead of `kh·kw · in·mult`, which is less only at ranks below `kh·kw`:
 * for a 3×3 kernel the default rank of 8 saves next to nothing. `'all'` therefore leaves these layers out; name them in
 * `targets` to adapt them anyway.
 *
 * Takes every stride, padding, data format and depth multiplier that the base takes. Like the base it computes without
 * its dilation rate.
 */
export class LoRADepthwiseConv2D extends LoRALayer {
  static readonly className = 'tfjs-lora>LoRADepthwiseConv2D';
  /** @internal */
  static readonly adaptation: Adaptation = {
    baseClassName: 'DepthwiseConv2D',
    form: 'kernel',
    forward: depthwiseConv2dForward,
    weights: layer => [
      {name: 'depthwise_kernel', variable: fieldsOf<DepthwiseLayer>(layer).depthwiseKernel, outAxes: 2},
    ],
    unlessNamed:
      'The kernel of a DepthwiseConv2D has hardly more parameters than its update would have. To adapt it anyway, ' +
      'name it in targets.',
  };
}
registerOwn(LoRADepthwiseConv2D);
