import * as tf from '@tensorflow/tfjs';
import {frozenProducts} from '../../../src/core/ops/cellProducts';
import {type CellKind, gru, lstm, partWidths, simpleRNN} from '../../../src/core/ops/recurrent';
import {BACKENDS, expectGradients, kernelsOf, numbers, on, random, useBackend} from '../../helpers';

const BATCH = 2;
const FAN_IN = 3;
const UNITS = 4;

interface Kind {
  kind: CellKind;
  gates: number;
  states: number;
  cell: () => tf.layers.Layer;
}

const KINDS: [name: string, kind: Kind][] = [
  ['simpleRNN', {kind: simpleRNN, gates: 1, states: 1, cell: () => tf.layers.simpleRNNCell({units: UNITS})}],
  ['gru', {kind: gru, gates: 3, states: 1, cell: () => tf.layers.gruCell({units: UNITS})}],
  ['lstm', {kind: lstm, gates: 4, states: 2, cell: () => tf.layers.lstmCell({units: UNITS})}],
];

/** A stock cell's weights; the layers' defaults are tanh and the hard sigmoid. */
function weightsOf({gates}: Kind) {
  return {
    kernel: random([FAN_IN, gates * UNITS], 1),
    recurrentKernel: random([UNITS, gates * UNITS], 2),
    bias: random([gates * UNITS], 3),
  };
}

function inputsOf({states}: Kind): tf.Tensor[] {
  const hidden = Array.from({length: states}, (_, i) => random([BATCH, UNITS], 4 + i));
  return [random([BATCH, FAN_IN], 7), ...hidden];
}

function hardSigmoid(x: tf.Tensor): tf.Tensor {
  return tf.clipByValue(tf.add(tf.mul(0.2, x), 0.5), 0, 1);
}

/** The new states joined to one tensor, and the gradients of it in the input and the states. */
function differentiate(kind: Kind, f: (inputs: tf.Tensor[]) => tf.Tensor[]): tf.Tensor[] {
  const joined = (...inputs: tf.Tensor[]) => tf.concat(f(inputs), 1);
  const dy = random([BATCH, kind.states * UNITS], 8);
  const inputs = inputsOf(kind);
  return [joined(...inputs), ...tf.grads(joined)(inputs, dy)];
}

function stock(kind: Kind): tf.Tensor[] {
  const {kernel, recurrentKernel, bias} = weightsOf(kind);
  const cell = kind.cell();
  cell.build([BATCH, FAN_IN]);
  cell.setWeights([kernel, recurrentKernel, bias]);
  const results = differentiate(kind, inputs => (cell.call(inputs, {}) as tf.Tensor[]).slice(1));
  cell.weights.forEach(weight => weight.dispose());
  return results;
}

function frozen(kind: Kind): tf.Tensor[] {
  const {kernel, recurrentKernel, bias} = weightsOf(kind);
  const input = frozenProducts(kernel);
  const recurrent = frozenProducts(recurrentKernel, partWidths(kind.kind, recurrentKernel));
  const weights = {input, recurrent, bias, activation: tf.tanh, recurrentActivation: hardSigmoid};
  return differentiate(kind, ([x, ...states]) => kind.kind.step(x!, states, weights));
}

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(() => useBackend(backend));

  describe.each(KINDS)('%s', (_, kind) => {
    test('computes what the stock cell computes, bit for bit', async () => {
      const [expected] = await on(backend, () => stock(kind));
      const [actual] = await on(backend, () => frozen(kind));
      expect(actual).toEqual(expected);
    });

    test('has the gradients of the stock cell in its input and its states', async () => {
      const expected = await on('cpu', () => stock(kind));
      expectGradients(await on(backend, () => frozen(kind)), expected);
    });

    test('computes no gradient of its kernels', async () => {
      const products = (kernels: {name: string; output: string}[]) =>
        kernels.filter(({name}) => name === 'BatchMatMul').map(({output}) => output);
      const kernelShapes = [FAN_IN, UNITS].flatMap(fanIn =>
        [1, 2, kind.gates].map(gates => `${fanIn}×${gates * UNITS}`),
      );
      const ran = products(await kernelsOf(() => tf.tidy(() => frozen(kind))));
      expect(ran.length).toBeGreaterThan(0);
      expect(ran.filter(output => kernelShapes.includes(output))).toEqual([]);
    });
  });

  test('a step without bias adds none', () => {
    const [x, h] = [tf.tensor2d([[1, 2]]), tf.tensor2d([[3]])];
    const weights = {
      input: frozenProducts(tf.tensor2d([[1], [2]])),
      recurrent: frozenProducts(tf.tensor2d([[4]])),
    };
    const identity = (z: tf.Tensor) => z;
    const activations = {activation: identity, recurrentActivation: identity};
    const [next] = simpleRNN.step(x, [h], {...weights, bias: null, ...activations});
    expect(numbers(next!)).toEqual([1 * 1 + 2 * 2 + 3 * 4]);
  });
});
