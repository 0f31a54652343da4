import {conv2dOp} from '../ops/conv2d';
import type {StockCall} from '../ops/linear';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {ConvLayer} from '../../platform/tfjs/layerFields';
import {kernelAdaptation} from './adaptation';
import {channelsLast, convSettings, deferral, isFused} from './convolutions';
import {applyLinear, by, type Forward} from './forward';
import {LoRALayer} from './loraLayer';
import {registerOwn} from '../../platform/tfjs/configs';

/** `Conv2D`: both data formats; as the stock layer, channels-first is transposed before and after. */
const conv2dForward: Forward = (layer, x, call) => {
  const fields = fieldsOf<ConvLayer>(layer);
  const geometry = convSettings(fields);
  const {last, restore} = channelsLast(x, fields);
  const defer = deferral(call.prepared, fields, geometry, false);
  const stock: StockCall = {fuses: isFused(layer) ? 'relu6 too' : 'stock', defer};
  return applyLinear(by(conv2dOp(geometry)), last, fields, call, stock, restore);
};

/**
 * A `Conv2D` layer with a low-rank update of its kernel: `y = f(x ∗ (W + s·A·B) + b)`. `A`, `[kh, kw, in, rank]`, is a
 * convolution like the base's with `rank` filters, and `B`, `[rank, out]`, one of size 1×1.
 *
 * Takes every stride, padding, data format and dilation that the base takes; trains dilated convolutions too, for which
 * tfjs itself has no gradient. Trains `rank · (kh·kw·in + out)` parameters instead of `kh·kw·in·out`. Factors are laid
 * out as PEFT's, transposed.
 */
export class LoRAConv2D extends LoRALayer {
  static readonly className = 'tfjs-lora>LoRAConv2D';
  /** @internal */
  static readonly adaptation = kernelAdaptation('Conv2D', conv2dForward);
}
registerOwn(LoRAConv2D);
