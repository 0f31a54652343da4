import * as tf from '@tensorflow/tfjs';
import type {LoRALayerArgs} from './loraLayer';
import {LoRARecurrentLayer, recurrentAdaptation} from './loraRecurrent';

/**
 * A `SimpleRNN` layer with low-rank updates of its kernel, `[in, units]`, and its recurrent kernel, `[units, units]`.
 */
export class LoRASimpleRNN extends LoRARecurrentLayer {
  static readonly className = 'LoRASimpleRNN';
  static readonly adaptation = recurrentAdaptation('SimpleRNN');

  constructor(args: LoRALayerArgs) {
    super(args, LoRASimpleRNN.adaptation);
  }
}
tf.serialization.registerClass(LoRASimpleRNN);

/** Makes a {@link LoRASimpleRNN}. */
export function loraSimpleRNN(args: LoRALayerArgs): LoRASimpleRNN {
  return new LoRASimpleRNN(args);
}
