import * as tf from '@tensorflow/tfjs';
import {conv1dOp} from '../ops/conv1d';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {Conv1DLayer, ConvLayer} from '../../platform/tfjs/layerFields';
import {channelsLast, convSettings} from './convolutions';
import {applyLinear, by, type Forward} from './forward';
import {LoRALayer} from './loraLayer';
import {kernelAdaptation} from './adaptation';
import {registerOwn} from '../../platform/tfjs/configs';

/** `Conv1D`: the stock layer fuses nothing, and answers channels last in any case. */
const conv1dForward: Forward = (layer, x, call) => {
  const fields = fieldsOf<ConvLayer>(layer);
  const {last} = channelsLast(x, fields);
  return applyLinear(by(conv1dOp(convSettings(fields))), last, fields, call, {separateBias: true}, y => y);
};

/**
 * A `Conv1D` layer with a low-rank update of its kernel: `y = f(x ∗ (W + s·A·B) + b)`. `A`, `[k, in, rank]`, is a
 * convolution like the base's with `rank` filters, and `B`, `[rank, out]`, one of size 1.
 *
 * Takes every stride, padding and dilation that the base computes; trains dilated convolutions too, for which tfjs
 * itself has no gradient. Trains `rank · (k·in + out)` parameters instead of `k·in·out`. Factors are laid out as
 * PEFT's, transposed.
 *
 * @throws LoRAError also for the padding `causal`, which tfjs declares and does not compute, and for channels-first
 * inputs: a stock `Conv1D` leaves its data format out of its config, so that it could be neither saved nor merged.
 */
export class LoRAConv1D extends LoRALayer {
  static readonly className = 'tfjs-lora>LoRAConv1D';
  /** @internal */
  static readonly adaptation = {...kernelAdaptation('Conv1D', conv1dForward), refusal};
}
registerOwn(LoRAConv1D);

function refusal(layer: tf.layers.Layer): string | undefined {
  const {padding, dataFormat} = fieldsOf<Conv1DLayer>(layer);
  if (padding === 'causal') {
    return (
      'tfjs does not compute padding "causal". ' +
      'Put zeros before the input and use padding "valid", or exclude the layer.'
    );
  }
  return dataFormat === 'channelsFirst'
    ? 'tfjs forgets dataFormat "channelsFirst" when it saves a Conv1D. ' +
        'Use "channelsLast" after a Permute layer, or exclude the layer.'
    : undefined;
}
