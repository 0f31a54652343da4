import * as tf from '@tensorflow/tfjs';
import type {LoRALayerArgs} from './loraLayer';
import {LoRARecurrentLayer, recurrentAdaptation} from './loraRecurrent';

/**
 * An `LSTM` layer with low-rank updates of its kernel, `[in, 4 · units]`, and its recurrent kernel, `[units, 4 · units]`. The gates share
 * one `A` and have columns of `B` of their own.
 */
export class LoRALSTM extends LoRARecurrentLayer {
  static readonly className = 'LoRALSTM';
  static readonly adaptation = recurrentAdaptation('LSTM');

  constructor(args: LoRALayerArgs) {
    super(args, LoRALSTM.adaptation);
  }
}
tf.serialization.registerClass(LoRALSTM);

/** Makes a {@link LoRALSTM}. */
export function loraLSTM(args: LoRALayerArgs): LoRALSTM {
  return new LoRALSTM(args);
}
