import * as tf from '@tensorflow/tfjs';
import {conv2dOp} from '../ops/conv2d';
import {depthwiseConv2d} from '../ops/depthwise';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {SeparableLayer} from '../../platform/tfjs/layerFields';
import type {Adaptation} from './adaptation';
import {channelsLast, convSettings} from './convolutions';
import {applyLinear, asFloat, by, type Forward, UNFUSED_IDENTITY} from './forward';
import {LoRALayer} from './loraLayer';
import {registerOwn} from '../../platform/tfjs/configs';

/** `SeparableConv2D`: a depthwise convolution, then a 1×1 convolution, which has the update. */
const separableConv2dForward: Forward = (layer, x, call) => {
  const fields = fieldsOf<SeparableLayer>(layer);
  const {depthwiseKernel, pointwiseKernel, bias, activation} = fields;
  if (fields.dataFormat === 'channelsFirst' && bias !== null) {
    // The stock layer adds its bias along the wrong axis here.
    return layer.apply(x, call.kwargs) as tf.Tensor;
  }
  const {last, restore} = channelsLast(x, fields);
  const depthwise = {kernel: depthwiseKernel.read(), bias: null, factors: null, trains: depthwiseKernel.trainable};
  const filtered = depthwiseConv2d(asFloat(last) as tf.Tensor4D, depthwise, convSettings(fields), UNFUSED_IDENTITY);
  const op = conv2dOp({strides: [1, 1], padding: 'valid', dilations: [1, 1]});
  const pointwise = {kernel: pointwiseKernel, bias, activation};
  // The stock layer computes its activation channels last.
  return restore(applyLinear(by(op), filtered, pointwise, call, {separateBias: true}, y => y));
};

/**
 * A `SeparableConv2D` layer with a low-rank update of its pointwise kernel: `y = f((x ∗ D) ∗ (P + s·A·B) + b)`, with
 * `D` the depthwise kernel, which stays as it is: it has few parameters, and a low-rank update hardly less. `A`,
 * `[1, 1, in, rank]`, and `B`, `[rank, out]`, are convolutions of size 1×1.
 *
 * Takes every stride, padding and dilation that the base computes; trains dilated convolutions too, for which tfjs
 * itself has no gradient. Trains `rank · (in + out)` parameters instead of `in·out`.
 *
 * @throws LoRAError also for a depth multiplier other than 1, which a stock `SeparableConv2D` leaves out of its config,
 * so that it could be neither saved nor merged; and for channels-first images together with a bias, which it adds along
 * a wrong axis.
 */
export class LoRASeparableConv2D extends LoRALayer {
  static readonly className = 'tfjs-lora>LoRASeparableConv2D';
  /** @internal */
  static readonly adaptation: Adaptation = {
    baseClassName: 'SeparableConv2D',
    form: 'linear',
    forward: separableConv2dForward,
    weights: layer => [{name: 'pointwise_kernel', variable: fieldsOf<SeparableLayer>(layer).pointwiseKernel}],
    refusal,
  };
}
registerOwn(LoRASeparableConv2D);

function refusal(layer: tf.layers.Layer): string | undefined {
  const {depthMultiplier, dataFormat, useBias} = fieldsOf<SeparableLayer>(layer);
  if (depthMultiplier !== 1) {
    return (
      `tfjs forgets depthMultiplier ${depthMultiplier} when it saves a SeparableConv2D. ` +
      'Use a DepthwiseConv2D and a Conv2D of size 1×1 instead, or exclude the layer.'
    );
  }
  return dataFormat === 'channelsFirst' && useBias
    ? 'With dataFormat "channelsFirst", tfjs adds the bias along the wrong axis. Use "channelsLast" ' +
        'after a Permute layer, or exclude the layer.'
    : undefined;
}
