import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../../../src/platform/errors';
import {LoRARNN} from '../../../src/core/layers/loraRecurrent';
import {numbers, random} from '../../helpers';
import {stir} from '../../models';
import {testRecurrent} from './recurrentKind';

/** A layer around a stack of a GRU cell and an LSTM cell, which is one unit wider. */
function stack(options: object): tf.layers.Layer {
  const {units, activation, recurrentActivation, useBias, dropout, recurrentDropout, ...outer} = options as {
    units: number;
  } & Record<string, unknown>;
  const own = {activation, recurrentActivation, useBias, dropout, recurrentDropout};
  const cell = [tf.layers.gruCell({units, ...own} as never), tf.layers.lstmCell({units: 2 * units, ...own} as never)];
  return tf.layers.rnn({...outer, cell});
}

testRecurrent({
  className: 'LoRARNN',
  make: args => new LoRARNN(args),
  base: stack,
  states: [2, 2, 1],
  kernels: 4,
  factors: {
    'RNNCell_0/kernel/lora_A': [4, 2],
    'RNNCell_0/kernel/lora_B': [2, 9],
    'RNNCell_0/recurrent_kernel/lora_A': [3, 2],
    'RNNCell_0/recurrent_kernel/lora_B': [2, 9],
    'RNNCell_1/kernel/lora_A': [3, 2],
    'RNNCell_1/kernel/lora_B': [2, 24],
    'RNNCell_1/recurrent_kernel/lora_A': [6, 2],
    'RNNCell_1/recurrent_kernel/lora_B': [2, 24],
  },
});

describe('around a single cell', () => {
  test('it names its factors as the layer of that cell would', () => {
    const layer = new LoRARNN({layer: tf.layers.rnn({cell: tf.layers.lstmCell({units: 3})}), rank: 2});
    layer.apply(tf.input({shape: [4, 2]}));
    expect([...layer.adapterWeights().keys()]).toEqual([
      'kernel/lora_A',
      'kernel/lora_B',
      'recurrent_kernel/lora_A',
      'recurrent_kernel/lora_B',
    ]);
  });

  test('it draws new dropout masks for each batch, of any size', () => {
    const cell = tf.layers.gruCell({units: 3, dropout: 0.5});
    const layer = new LoRARNN({layer: tf.layers.rnn({cell, inputShape: [4, 8]}), rank: 2});
    layer.apply(tf.input({shape: [4, 8]}));
    stir(layer);
    const x = random([5, 4, 8], 1);
    const trained = () => numbers(layer.apply(x, {training: true}) as tf.Tensor);
    expect(trained()).not.toEqual(trained());
    expect((layer.apply(random([2, 4, 8], 1), {training: true}) as tf.Tensor).shape).toEqual([2, 3]);
  });

  test('refuses a cell that it does not know', () => {
    class OwnCell extends tf.layers.RNNCell {
      static className = 'OwnCell';
      stateSize = 2;
    }
    const cell = new OwnCell();
    const make = (one: OwnCell | tf.layers.RNNCell[]) => () =>
      new LoRARNN({layer: tf.layers.rnn({cell: one, name: 'own'}), rank: 2});
    expect(make(cell)).toThrow(LoRAError);
    expect(make(cell)).toThrow(/Layer "own": LoRA supports .* not a OwnCell\. Exclude the layer/);
    expect(make([tf.layers.gruCell({units: 2}), cell])).toThrow(/Layer "own": LoRA supports .* not a OwnCell/);
  });
});
