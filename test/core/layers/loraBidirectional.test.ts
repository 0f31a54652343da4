import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../../../src/platform/errors';
import {LoRABidirectional, LoRALSTM} from '../../../src/core/layers/loraRecurrent';
import {applyLoRA} from '../../../src/core/model/apply';
import {numbers, random} from '../../helpers';
import {mergedKernel, predictions, reloaded, stir, stirFactors} from '../../models';
import {testRecurrent} from './recurrentKind';

type Mode = 'sum' | 'mul' | 'concat' | 'ave' | null;
const MODES: Mode[] = ['sum', 'mul', 'concat', 'ave', null];

function both(layer: tf.layers.Layer, mergeMode: Mode, args: object = {}): tf.layers.Layer {
  return tf.layers.bidirectional({layer: layer as tf.RNN, mergeMode: mergeMode as 'sum', name: 'base', ...args});
}

testRecurrent({
  className: 'LoRABidirectional',
  make: args => new LoRABidirectional(args),
  base: options => {
    const {name, inputShape, ...own} = options as Record<string, unknown>;
    const inner = tf.layers.gru({...own, name: 'inner'} as unknown as {units: number});
    return both(inner, 'concat', {name, ...(inputShape !== undefined && {inputShape})});
  },
  states: [1, 1],
  kernels: 4,
  factors: Object.fromEntries(
    ['forward_inner', 'backward_inner'].flatMap(direction => [
      [`${direction}/kernel/lora_A`, [4, 2]],
      [`${direction}/kernel/lora_B`, [2, 9]],
      [`${direction}/recurrent_kernel/lora_A`, [3, 2]],
      [`${direction}/recurrent_kernel/lora_B`, [2, 9]],
    ]),
  ),
});

describe.each(MODES)('with the merge mode %s', mode => {
  test.each([
    [false, false, false],
    [true, false, true],
    [true, true, false],
    [false, true, true],
  ])(
    'it computes, merges and saves what the stock layer does (returnSequences %s, returnState %s, goBackwards %s)',
    async (returnSequences, returnState, goBackwards) => {
      const args = {units: 3, returnSequences, returnState, goBackwards, name: 'lstm'};
      const model = () => {
        const input = tf.input({shape: [4, 2], name: 'in'});
        return tf.model({inputs: input, outputs: both(tf.layers.lstm(args), mode).apply(input) as tf.SymbolicTensor});
      };
      const stock = model();
      stir(stock);
      const x = random([2, 4, 2], 7);
      const lora = applyLoRA(stock, {rank: 2, alpha: 3});
      expect(predictions(lora, [x])).toEqual(predictions(stock, [x]));

      stirFactors(lora);
      const layer = lora.getLayer('base') as LoRABidirectional;
      for (const weight of stock.weights) {
        const part = layer.lowRankParts.find(candidate => weight.originalName === `base/${candidate.weight}`);
        if (part) {
          weight.write(tf.tensor(mergedKernel(layer, part), weight.shape as number[]));
        }
      }
      const expected = predictions(stock, [x]);
      const actual = predictions(lora, [x]);
      expect(actual).toHaveLength(expected.length);
      actual.forEach((values, i) => expect(values).toBeAllClose(expected[i]!));
      expect(predictions(await reloaded(lora), [x])).toEqual(actual);
      const merged = [layer.mergeToOriginalLayer().apply(x) as tf.Tensor[]].flat();
      merged.forEach((y, i) => expect(numbers(y)).toBeAllClose(expected[i]!));
    },
  );
});

test('a stateful one goes on where the last batch ended', () => {
  const inner = tf.layers.lstm({units: 2, stateful: true});
  const stock = tf.sequential({layers: [both(inner, 'concat', {batchInputShape: [2, 3, 2]})]});
  stir(stock);
  const lora = applyLoRA(stock, {rank: 1});
  const x = random([2, 3, 2], 1);
  const outputs = (model: tf.LayersModel) => {
    const [first, second] = [predictions(model, [x]), predictions(model, [x])];
    model.resetStates();
    return [first, second, predictions(model, [x])];
  };
  const actual = outputs(lora);
  expect(actual).toEqual(outputs(stock));
  expect(actual[1]).not.toEqual(actual[0]);
  expect(actual[2]).toEqual(actual[0]);
});

test('a LoRA layer inside a stock Bidirectional is refused, with the way to adapt the whole', () => {
  const inner = new LoRALSTM({layer: tf.layers.lstm({units: 2, name: 'lstm'}), rank: 1});
  expect(() => both(inner, 'concat')).toThrow(LoRAError);
  expect(() => both(inner, 'concat')).toThrow(/Layer "lstm": .*inside a Bidirectional.*adaptLayer\(/);
});

test('refuses one around layers that it does not know', () => {
  const layer = both(tf.layers.convLstm2d({filters: 2, kernelSize: 2}), 'sum');
  expect(() => new LoRABidirectional({layer, rank: 1})).toThrow(/Layer "base": LoRA supports .* not a ConvLSTM2DCell/);
});
