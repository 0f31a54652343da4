import * as tf from '@tensorflow/tfjs';
import {fieldsOf, type SeparableLayer} from '../tfjs/fields';
import type {Adaptation} from './adaptation';
import {separableConv2dForward} from './forward';
import {LoRAKernelLayer} from './loraKernelLayer';
import type {LoRALayerArgs} from './loraLayer';

/**
 * A `SeparableConv2D` layer with a low-rank update of its pointwise kernel: `y = f((x ∗ D) ∗ (P + s·A·B) + b)`, with `D` the depthwise
 * kernel, which stays as it is: it has few parameters, and a low-rank update hardly less. `A`, `[1, 1, in, rank]`, and `B`, `[rank, out]`,
 * are convolutions of size 1×1.
 *
 * Takes every stride, padding and dilation that the base computes; trains dilated convolutions too, for which tfjs itself has no gradient.
 * Trains `rank · (in + out)` numbers instead of `in·out`.
 */
export class LoRASeparableConv2D extends LoRAKernelLayer {
  static readonly className = 'LoRASeparableConv2D';
  static readonly adaptation: Adaptation = {
    baseClassName: 'SeparableConv2D',
    weights: layer => [{name: 'pointwise_kernel', variable: fieldsOf<SeparableLayer>(layer).pointwiseKernel}],
    refusal,
  };

  /**
   * @throws LoRAError also for a depth multiplier other than 1, which a stock `SeparableConv2D` leaves out of its config, so that it could
   * be neither saved nor merged; and for channels-first images together with a bias, which it adds along a wrong axis.
   */
  constructor(args: LoRALayerArgs) {
    super(args, LoRASeparableConv2D.adaptation, separableConv2dForward);
  }
}
tf.serialization.registerClass(LoRASeparableConv2D);

/** Makes a {@link LoRASeparableConv2D}. */
export function loraSeparableConv2d(args: LoRALayerArgs): LoRASeparableConv2D {
  return new LoRASeparableConv2D(args);
}

function refusal(layer: tf.layers.Layer): string | undefined {
  const {depthMultiplier, dataFormat, useBias} = fieldsOf<SeparableLayer>(layer);
  if (depthMultiplier !== 1) {
    return (
      `has depthMultiplier ${depthMultiplier}, which tfjs forgets when it saves a SeparableConv2D. ` +
      'Use a DepthwiseConv2D and a Conv2D of size 1×1 instead, or exclude the layer.'
    );
  }
  return dataFormat === 'channelsFirst' && useBias
    ? 'has dataFormat "channelsFirst" and a bias, which tfjs adds along a wrong axis. ' +
        'Use "channelsLast" after a Permute layer, or exclude the layer.'
    : undefined;
}
