import * as tf from '@tensorflow/tfjs';
import {type ConvLayer, fieldsOf} from '../tfjs/fields';
import type {Adaptation} from './adaptation';
import {conv1dForward} from './forward';
import {kernelAdaptation, LoRAKernelLayer} from './loraKernelLayer';
import type {LoRALayerArgs} from './loraLayer';

/**
 * A `Conv1D` layer with a low-rank update of its kernel: `y = f(x ∗ (W + s·A·B) + b)`. `A`, `[k, in, rank]`, is a convolution like the
 * base's with `rank` filters, and `B`, `[rank, out]`, one of size 1.
 *
 * Takes every stride, padding and dilation that the base computes; trains dilated convolutions too, for which tfjs itself has no
 * gradient. Trains `rank · (k·in + out)` numbers instead of `k·in·out`. Factors are laid out as PEFT's, transposed.
 */
export class LoRAConv1D extends LoRAKernelLayer {
  static readonly className = 'LoRAConv1D';
  static readonly adaptation: Adaptation = {...kernelAdaptation('Conv1D'), refusal};

  /**
   * @throws LoRAError also for the padding `causal`, which tfjs declares and does not compute, and for channels-first inputs: a stock
   * `Conv1D` leaves its data format out of its config, so that it could be neither saved nor merged.
   */
  constructor(args: LoRALayerArgs) {
    super(args, LoRAConv1D.adaptation, conv1dForward);
  }
}
tf.serialization.registerClass(LoRAConv1D);

/** Makes a {@link LoRAConv1D}. */
export function loraConv1d(args: LoRALayerArgs): LoRAConv1D {
  return new LoRAConv1D(args);
}

function refusal(layer: tf.layers.Layer): string | undefined {
  const {padding, dataFormat} = fieldsOf<Pick<ConvLayer, 'dataFormat'> & {padding: string}>(layer);
  if (padding === 'causal') {
    return (
      'has padding "causal", which tfjs does not compute. ' +
      'Put zeros before its input and use padding "valid", or exclude the layer.'
    );
  }
  return dataFormat === 'channelsFirst'
    ? 'has dataFormat "channelsFirst", which tfjs forgets when it saves a Conv1D. ' +
        'Use "channelsLast" after a Permute layer, or exclude the layer.'
    : undefined;
}
