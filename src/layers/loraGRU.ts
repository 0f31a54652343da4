import * as tf from '@tensorflow/tfjs';
import type {LoRALayerArgs} from './loraLayer';
import {LoRARecurrentLayer, recurrentAdaptation} from './loraRecurrent';

/**
 * A `GRU` layer with low-rank updates of its kernel, `[in, 3 · units]`, and its recurrent kernel, `[units, 3 · units]`. The gates share
 * one `A` and have columns of `B` of their own.
 */
export class LoRAGRU extends LoRARecurrentLayer {
  static readonly className = 'LoRAGRU';
  static readonly adaptation = recurrentAdaptation('GRU');

  constructor(args: LoRALayerArgs) {
    super(args, LoRAGRU.adaptation);
  }
}
tf.serialization.registerClass(LoRAGRU);

/** Makes a {@link LoRAGRU}. */
export function loraGRU(args: LoRALayerArgs): LoRAGRU {
  return new LoRAGRU(args);
}
