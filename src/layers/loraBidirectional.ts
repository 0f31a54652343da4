import * as tf from '@tensorflow/tfjs';
import type {LoRALayerArgs} from './loraLayer';
import {LoRARecurrentLayer, recurrentAdaptation} from './loraRecurrent';

/**
 * A `Bidirectional` layer around a stock recurrent layer, with low-rank updates of the kernel and the recurrent kernel of each direction.
 *
 * It adapts the layer as a whole: `loraBidirectional({layer: tf.layers.bidirectional({layer: tf.layers.lstm(…)})})`.
 */
export class LoRABidirectional extends LoRARecurrentLayer {
  static readonly className = 'LoRABidirectional';
  static readonly adaptation = recurrentAdaptation('Bidirectional');

  constructor(args: LoRALayerArgs) {
    super(args, LoRABidirectional.adaptation);
  }
}
tf.serialization.registerClass(LoRABidirectional);

/** Makes a {@link LoRABidirectional}. */
export function loraBidirectional(args: LoRALayerArgs): LoRABidirectional {
  return new LoRABidirectional(args);
}
