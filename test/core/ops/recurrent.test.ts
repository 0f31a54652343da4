import * as tf from '@tensorflow/tfjs';
import {adaptedProducts, frozenProducts, masked} from '../../../src/core/ops/cellProducts';
import {type CellKind, gru, lstm, partWidths, simpleRNN} from '../../../src/core/ops/recurrent';
import {BACKENDS, expectGradients, kernelsOf, numbers, on, random, useBackend, withoutLeaks} from '../../helpers';

const SCALING = 1.5;
const WIDTHS = [4, 2];

/** Two inputs, a kernel and its factors. */
function tensors(): tf.Tensor[] {
  return [random([2, 3], 1), random([2, 3], 2), random([3, 6], 3), random([3, 2], 4), random([2, 6], 5)];
}

/** A number that depends on both products of both inputs. */
function loss(product: (x: tf.Tensor, part: number) => tf.Tensor, xs: tf.Tensor[]): tf.Tensor {
  const products = xs.flatMap(x => WIDTHS.map((_, part) => product(x, part)));
  return tf.addN(products.map((y, i) => tf.sum(tf.mul(tf.square(y), i + 1))));
}

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(() => useBackend(backend));

  test('steps with parts of an updated kernel have the gradients of tfjs, in all that they depend on', async () => {
    const adapted = (one: tf.Tensor, other: tf.Tensor, kernel: tf.Tensor, a: tf.Tensor, b: tf.Tensor) =>
      loss(adaptedProducts(kernel, {a, b, scaling: SCALING}, WIDTHS), [one, other]);
    const plain = (one: tf.Tensor, other: tf.Tensor, kernel: tf.Tensor, a: tf.Tensor, b: tf.Tensor) => {
      const parts = tf.split(tf.add(kernel, tf.mul(tf.matMul(a, b), SCALING)), WIDTHS, 1);
      return loss((x, part) => tf.matMul(x, parts[part]!), [one, other]);
    };
    const expected = await on('cpu', () => [plain(...(tensors() as Five)), ...tf.grads(plain)(tensors())]);
    const actual = await on(backend, () => [adapted(...(tensors() as Five)), ...tf.grads(adapted)(tensors())]);
    expectGradients(actual, expected);
  });

  test('parts of a frozen kernel give the columns of the whole product', () => {
    const [x, , kernel] = tensors() as Five;
    const [whole, parts] = [frozenProducts(kernel), frozenProducts(kernel, WIDTHS)];
    const joined = tf.concat([parts(x, 0), parts(x, 1)], 1);
    expect(numbers(joined)).toBeAllClose(numbers(whole(x, 0)));
  });

  test('a mask applies to the input of the second product alone', () => {
    const [one, other] = [
      [[1], [10], [100]],
      [[2], [20], [200]],
    ].map(kernel => frozenProducts(tf.tensor2d(kernel)));
    const mask = tf.tensor2d([[0, 2, 0]]);
    const y = masked(one!, mask, other!)(tf.tensor2d([[3, 4, 5]]), 0);
    expect(numbers(y)).toEqual([3 + 40 + 500 + 2 * 4 * 20]);
  });

  test('the backward pass leaves nothing', async () => {
    await withoutLeaks(() => {
      tf.tidy(() => {
        const [one, other, kernel, a, b] = tensors() as Five;
        const f = (factor: tf.Tensor) =>
          loss(adaptedProducts(kernel, {a: factor, b, scaling: SCALING}, WIDTHS), [one, other]);
        tf.grad(f)(a);
      });
    });
  });
});

type Five = [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];

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
