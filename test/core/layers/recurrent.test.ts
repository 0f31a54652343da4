import * as tf from '@tensorflow/tfjs';
import {registerResetAfterGRU} from '../../../src/core/keras/gruResetAfter';
import {LoRABidirectional, LoRAGRU, LoRALSTM, LoRARNN, LoRASimpleRNN} from '../../../src/core/layers/loraRecurrent';
import {applyLoRA} from '../../../src/core/model/apply';
import {LoRAError} from '../../../src/platform/errors';
import {layerFromEntry} from '../../../src/platform/tfjs/configs';
import {numbers, random} from '../../helpers';
import {mergedKernel, predictions, reloaded, stir, stirFactors} from '../../models';
import {type RecurrentKind, testRecurrent} from './recurrentKind';

testRecurrent({
  className: 'LoRASimpleRNN',
  make: args => new LoRASimpleRNN(args),
  base: options => tf.layers.simpleRNN(options as {units: number}),
  states: [1],
  kernels: {kernel: [4, 3], recurrent_kernel: [3, 3]},
});

testRecurrent({
  className: 'LoRALSTM',
  make: args => new LoRALSTM(args),
  base: options => tf.layers.lstm(options as {units: number}),
  states: [1, 1],
  kernels: {kernel: [4, 12], recurrent_kernel: [3, 12]},
});

const KIND = {
  className: 'LoRAGRU',
  make: (args: ConstructorParameters<typeof LoRAGRU>[0]) => new LoRAGRU(args),
  states: [1],
  kernels: {kernel: [4, 9], recurrent_kernel: [3, 9]} satisfies RecurrentKind['kernels'],
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
  kernels: {
    'RNNCell_0/kernel': [4, 9],
    'RNNCell_0/recurrent_kernel': [3, 9],
    'RNNCell_1/kernel': [3, 24],
    'RNNCell_1/recurrent_kernel': [6, 24],
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
  kernels: {
    'forward_inner/kernel': [4, 9],
    'forward_inner/recurrent_kernel': [3, 9],
    'backward_inner/kernel': [4, 9],
    'backward_inner/recurrent_kernel': [3, 9],
  },
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
