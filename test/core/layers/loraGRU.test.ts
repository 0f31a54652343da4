import * as tf from '@tensorflow/tfjs';
import {registerResetAfterGRU} from '../../../src/core/keras/gruResetAfter';
import {LoRAGRU} from '../../../src/core/layers/loraRecurrent';
import {layerFromEntry} from '../../../src/platform/tfjs/configs';
import {numbers, random} from '../../helpers';
import {testRecurrent} from './recurrentKind';

const KIND = {
  className: 'LoRAGRU',
  make: (args: ConstructorParameters<typeof LoRAGRU>[0]) => new LoRAGRU(args),
  states: [1],
  kernels: 2,
  factors: {
    'kernel/lora_A': [4, 2],
    'kernel/lora_B': [2, 9],
    'recurrent_kernel/lora_A': [3, 2],
    'recurrent_kernel/lora_B': [2, 9],
  },
};

testRecurrent({...KIND, base: options => tf.layers.gru(options as {units: number})});

const {layer: className} = registerResetAfterGRU();
const resetAfter = (options: object) => layerFromEntry({className, config: {...options}});

describe('with reset_after', () => {
  testRecurrent({...KIND, base: resetAfter});

  test('it resets the state after the product, which has its own bias', () => {
    const layer = resetAfter({units: 2, recurrentActivation: 'sigmoid', name: 'gru'});
    const x = random([1, 2, 3], 1);
    layer.apply(x);
    const weights = [random([3, 6], 2), random([2, 6], 3), random([2, 6], 4)];
    layer.setWeights(weights);
    const [w, u, b] = weights.map(weight => weight.arraySync() as number[][]) as [number[][], number[][], number[][]];
    const affine = (row: number[], matrix: number[][], bias: number[]) =>
      bias.map((value, j) => row.reduce((sum, entry, i) => sum + entry * matrix[i]![j]!, value));
    const sigmoid = (value: number) => 1 / (1 + Math.exp(-value));
    let h = [0, 0];
    for (const step of (x.arraySync() as number[][][])[0]!) {
      const [ofInput, ofState] = [affine(step, w, b[0]!), affine(h, u, b[1]!)];
      h = h.map((before, i) => {
        const z = sigmoid(ofInput[i]! + ofState[i]!);
        const r = sigmoid(ofInput[2 + i]! + ofState[2 + i]!);
        return z * before + (1 - z) * Math.tanh(ofInput[4 + i]! + r * ofState[4 + i]!);
      });
    }
    expect(numbers(layer.apply(x) as tf.Tensor)).toBeAllClose(h);
  });
});
