import * as tf from '@tensorflow/tfjs';
import {LoRALSTM} from '../../../src/core/layers/loraRecurrent';
import {testRecurrent} from './recurrentKind';

testRecurrent({
  className: 'LoRALSTM',
  make: args => new LoRALSTM(args),
  base: options => tf.layers.lstm(options as {units: number}),
  states: [1, 1],
  kernels: 2,
  factors: {
    'kernel/lora_A': [4, 2],
    'kernel/lora_B': [2, 12],
    'recurrent_kernel/lora_A': [3, 2],
    'recurrent_kernel/lora_B': [2, 12],
  },
});
