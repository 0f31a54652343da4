import {conv3dOp} from '../ops/conv3d';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {ConvLayer} from '../../platform/tfjs/layerFields';
import {channelsLast, convSettings} from './convolutions';
import {applyLinear, by, type Forward} from './forward';
import {LoRALayer} from './loraLayer';
import {kernelAdaptation} from './adaptation';
import {registerOwn} from '../../platform/tfjs/configs';

/** `Conv3D`: both data formats. The stock layer fuses nothing, and transposes channels-first inputs as `Conv2D`. */
const conv3dForward: Forward = (layer, x, call) => {
  const fields = fieldsOf<ConvLayer>(layer);
  const {last, restore} = channelsLast(x, fields);
  return applyLinear(by(conv3dOp(convSettings(fields))), last, fields, call, {separateBias: true}, restore);
};

/**
 * A `Conv3D` layer with a low-rank update of its kernel: `y = f(x ∗ (W + s·A·B) + b)`. `A`, `[kd, kh, kw, in, rank]`,
 * is a convolution like the base's with `rank` filters, and `B`, `[rank, out]`, one of size 1×1×1.
 *
 * Takes every stride, padding, data format and dilation that the base takes; trains dilated convolutions too, for which
 * tfjs itself has no gradient, and trains on wasm, where tfjs's own gradients are wrong. Trains
 * `rank · (kd·kh·kw·in + out)` parameters instead of `kd·kh·kw·in·out`. Factors are laid out as PEFT's, transposed.
 */
export class LoRAConv3D extends LoRALayer {
  static readonly className = 'tfjs-lora>LoRAConv3D';
  /** @internal */
  static readonly adaptation = kernelAdaptation('Conv3D', conv3dForward);
}
registerOwn(LoRAConv3D);
