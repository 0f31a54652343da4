import * as tf from '@tensorflow/tfjs';
import {LoRASimpleRNN} from '../../../src/core/layers/loraRecurrent';
import {testRecurrent} from './recurrentKind';

testRecurrent({
  className: 'LoRASimpleRNN',
  make: args => new LoRASimpleRNN(args),
  base: options => tf.layers.simpleRNN(options as {units: number}),
  states: [1],
  kernels: 2,
  factors: {
    'kernel/lora_A': [4, 2],
    'kernel/lora_B': [2, 3],
    'recurrent_kernel/lora_A': [3, 2],
    'recurrent_kernel/lora_B': [2, 3],
  },
});
