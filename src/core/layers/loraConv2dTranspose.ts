import * as tf from '@tensorflow/tfjs';
import {conv2dTranspose} from '../ops/conv2dTranspose';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {ConvLayer} from '../../platform/tfjs/layerFields';
import {channelsLast, convSettings} from './convolutions';
import {applyLinear, type Compute, type Forward} from './forward';
import {LoRALayer} from './loraLayer';
import {type Adaptation, kernelAdaptation} from './adaptation';
import {registerOwn} from '../../platform/tfjs/configs';

/** `Conv2DTranspose`: both data formats. The stock layer fuses nothing, and leaves a dilation rate out of account. */
const conv2dTransposeForward: Forward = (layer, x, call) => {
  const fields = fieldsOf<ConvLayer>(layer);
  const geometry = convSettings({...fields, dilationRate: [1, 1]});
  const compute: Compute = (input, weights, activation) =>
    conv2dTranspose(input as tf.Tensor4D, weights, geometry, activation);
  const {last, restore} = channelsLast(x, fields);
  return applyLinear(compute, last, fields, call, {}, restore);
};

/**
 * A `Conv2DTranspose` layer with a low-rank update of its kernel: `y = f(x ∗ᵀ (W + s·A·B) + b)`.
 *
 * The kernel is `[kh, kw, out, in]`, and the factors multiply to that: `A` is `[kh, kw, out, rank]`, a transposed
 * convolution like the base's that starts from `rank` channels, and `B`, `[rank, in]`, one of size 1×1 before it, which
 * makes these channels. As always `A` starts random, here between ±1/√(kh·kw·out), and `B` at zero.
 *
 * Takes every stride, padding and data format that the base takes. Trains `rank · (kh·kw·out + in)` parameters instead
 * of `kh·kw·out·in`.
 */
export class LoRAConv2DTranspose extends LoRALayer {
  static readonly className = 'tfjs-lora>LoRAConv2DTranspose';
  /** @internal */
  static readonly adaptation: Adaptation = {
    ...kernelAdaptation('Conv2DTranspose', conv2dTransposeForward),
    form: 'kernel',
    weights: layer => [{name: 'kernel', variable: fieldsOf<ConvLayer>(layer).kernel, transposed: true}],
  };
}
registerOwn(LoRAConv2DTranspose);
