import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import 'tfjs-lora/graph';
import {randomFrom} from '../damage';
import type {AttackKind} from '../kind';
import {mustHold, WrongLoad} from '../kind';
import {kernelCase, type KernelCase, type Operand} from '../kernels/plainCases';

/** Our kernels on operands of random shapes, on wasm as on cpu, whose sums are of doubles. */
export const kernels: AttackKind = {
  name: 'a kernel of random shapes',
  isValid: true,
  prepare: async () => {
    await tf.setBackend('wasm');
    await tf.setBackend('cpu');
    return {
      whole: [{seed: 1}],
      make: random => ({seed: Math.floor(random() * 2 ** 32)}),
      models: [],
      use: async ({seed}) => {
        const random = randomFrom(seed as number);
        const tried = kernelCase(random);
        const given = tried.operands.map(operand => numbersOf(operand, random));
        const expected = attempt(() => computed(tried, given, randomFrom(seed as number)));
        if (typeof expected === 'string') {
          return; // tfjs refuses it
        }
        await tf.setBackend('wasm');
        const actual = attempt(() => computed(tried, given, randomFrom(seed as number)));
        await tf.setBackend('cpu');
        compare(tried, given, expected, actual);
      },
    };
  },
};

/** What `compute` gives, or the message of its error. */
function attempt<T>(compute: () => T): T | string {
  try {
    return compute();
  } catch (error) {
    return (error as Error).message;
  }
}

/** Numbers that are no multiples of each other; whole ones where the operand has a bound. */
function numbersOf({shape, below}: Operand, random: () => number): Float32Array {
  const numbers = new Float32Array(tf.util.sizeFromShape(shape));
  return numbers.map(() => (below === undefined ? 2 * random() - 1 : Math.floor(random() * below)));
}

interface Result {
  shape: number[];
  numbers: ArrayLike<number>;
}

interface Computed {
  results: Result[];
  weights: Float32Array[];
  gradients: Result[];
}

/** The results and, for random weights of these, the gradients. */
function computed(
  {operands, compute, isConstant}: KernelCase,
  given: readonly Float32Array[],
  random: () => number,
): Computed {
  const read = (tensor: tf.Tensor): Result => ({shape: tensor.shape, numbers: tensor.dataSync()});
  const {state} = tf.engine();
  const depth = state.scopeStack.length;
  tf.engine().startScope();
  try {
    const tensors = operands.map(({shape, below}, i) =>
      tf.tensor(given[i]!, shape, below === undefined ? 'float32' : 'int32'),
    );
    const results = [compute(...tensors)].flat().map(read);
    const weights = results.map(({numbers}) => Float32Array.from(numbers, () => 2 * random() - 1));
    const differentiable = tensors.filter(({dtype}) => dtype === 'float32');
    if (isConstant === true || differentiable.length === 0) {
      return {results, weights, gradients: []};
    }
    const gradients = tf.grads((...inputs: tf.Tensor[]) => {
      const all = tensors.map(tensor => (tensor.dtype === 'float32' ? inputs.shift()! : tensor));
      const parts = [compute(...all)]
        .flat()
        .map((y, i) => tf.sum<tf.Scalar>(tf.mul(y, tf.tensor(weights[i]!, y.shape))));
      return tf.addN(parts);
    })(differentiable);
    return {results, weights, gradients: gradients.map(read)};
  } finally {
    // A gradient that throws leaves scopes of tfjs open.
    while (state.scopeStack.length > depth) {
      tf.engine().endScope();
    }
  }
}

/** What a number may be off by, in parts of the largest. */
const TOLERANCE = 2e-5;

function compare(
  tried: KernelCase,
  given: readonly Float32Array[],
  expected: Computed,
  actual: Computed | string,
): void {
  const {what, operands, isLinear} = tried;
  const name = `${what} of ${operands.map(({shape}) => `[${String(shape)}]`).join(', ')}`;
  if (typeof actual === 'string') {
    throw new WrongLoad(`${name} is refused: ${actual}`);
  }
  same(name, expected.results, actual.results);
  same(`The gradient of ${name}`, expected.gradients, actual.gradients);
  if (isLinear === true && actual.gradients.length > 0) {
    const whole = dot(
      actual.results.map(({numbers}) => numbers),
      actual.weights,
    );
    const floats = given.filter((_, i) => operands[i]!.below === undefined);
    // Of a product, linear in each of two operands, each gradient gives the whole; else they share it.
    const shares = actual.gradients.map(({numbers}, i) => dot([numbers], [floats[i]!]));
    const isShared = what.startsWith('concat');
    for (const part of isShared ? [shares.reduce((sum, share) => sum + share)] : shares) {
      const most =
        1e-5 * (1 + Math.sqrt(actual.weights.reduce((count, {length}) => count + length, 0)) + Math.abs(whole));
      mustHold(Math.abs(part - whole) < 10 * most, `The gradient of ${name} is not its adjoint: ${part}, not ${whole}`);
    }
  }
}

function dot(a: readonly ArrayLike<number>[], b: readonly ArrayLike<number>[]): number {
  return a.reduce((total, numbers, i) => {
    let sum = total;
    for (let j = 0; j < numbers.length; j++) {
      sum += numbers[j]! * b[i]![j]!;
    }
    return sum;
  }, 0);
}

function same(name: string, expected: readonly Result[], actual: readonly Result[]): void {
  mustHold(expected.length === actual.length, `${name}: ${actual.length} results, not ${expected.length}`);
  for (const [i, {shape, numbers}] of expected.entries()) {
    const other = actual[i]!;
    mustHold(String(shape) === String(other.shape), `${name}: [${String(other.shape)}], not [${String(shape)}]`);
    const largest = Array.from(numbers).reduce((most, value) => Math.max(most, Math.abs(value)), 1);
    for (let j = 0; j < numbers.length; j++) {
      const isSame =
        Math.abs(numbers[j]! - other.numbers[j]!) <= TOLERANCE * largest || Object.is(numbers[j], other.numbers[j]);
      mustHold(isSame, `${name}: number ${j} is ${other.numbers[j]}, not ${numbers[j]}`);
    }
  }
}
