import * as tf from '@tensorflow/tfjs';
import '../../../src/backends/backends';
import {LoRAGRU} from '../../../src/core/layers/loraRecurrent';
import {BACKENDS} from '../../helpers';
import {testRecurrent} from './recurrentKind';

testRecurrent(BACKENDS, {
  className: 'LoRAGRU',
  make: args => new LoRAGRU(args),
  base: options => tf.layers.gru(options as {units: number}),
  states: [1],
  kernels: 2,
  factors: {
    'kernel/lora_A': [4, 2],
    'kernel/lora_B': [2, 9],
    'recurrent_kernel/lora_A': [3, 2],
    'recurrent_kernel/lora_B': [2, 9],
  },
});
