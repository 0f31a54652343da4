import * as tf from '@tensorflow/tfjs';
import type {LoRALayerArgs} from './loraLayer';
import {LoRARecurrentLayer, recurrentAdaptation} from './loraRecurrent';

/**
 * An `RNN` layer around a stock cell, or a stack of them, with low-rank updates of the kernel and the recurrent kernel of each cell. The
 * dropout masks of the cells are drawn anew for each pass over a sequence, where the stock layer keeps those of its first batch.
 */
export class LoRARNN extends LoRARecurrentLayer {
  static readonly className = 'LoRARNN';
  static readonly adaptation = recurrentAdaptation('RNN');

  constructor(args: LoRALayerArgs) {
    super(args, LoRARNN.adaptation);
  }
}
tf.serialization.registerClass(LoRARNN);

/** Makes a {@link LoRARNN}. */
export function loraRNN(args: LoRALayerArgs): LoRARNN {
  return new LoRARNN(args);
}
