import * as tf from '@tensorflow/tfjs';
import {type Random, randomFrom} from '../damage';
import {dtypeOf, type KernelCase, type Operand} from './case';
import {kernelCase} from './cases';

/** A tensor that was read. */
export interface Result {
  shape: number[];
  dtype: tf.DataType;
  values: ArrayLike<number> | readonly string[];
}

/** Tensors, or the message of an error. */
export type Results = Result[] | string;

/** What came of an operation on one backend: results and gradients, or the messages of errors. */
export interface Outcome {
  results: Results;
  /** None where the results are not there, or have none. */
  gradients: Results;
  /** How often each value of the result was written, if that may differ. */
  timesWritten?: Results;
  /** What the gradients are weighted by, and the operands. */
  weights: Float32Array[];
  values: Operands;
}

export type Operands = (Float32Array | string[])[];

/** Whether an error is one of WebAssembly itself. */
export function isDamage(results: Results): boolean {
  return typeof results === 'string' && results.startsWith('RuntimeError');
}

/** Numbers that are not multiples of each other; whole ones where the operand has a bound or another dtype. */
function valuesOf(operand: Operand, random: Random): Float32Array | string[] {
  const {shape, below, isSprinkled} = operand;
  const dtype = dtypeOf(operand);
  const numbers = new Float32Array(tf.util.sizeFromShape(shape)).map(() => {
    const number = random();
    switch (dtype) {
      case 'float32':
        return isSprinkled === true && random() < 0.05
          ? [NaN, Infinity, -Infinity, -0, 0][Math.floor(random() * 5)]!
          : 2 * number - 1;
      case 'bool':
        return Number(number < 0.5);
      default:
        return below === undefined ? Math.floor(19 * number) - 9 : Math.floor(below * number);
    }
  });
  return dtype === 'string' ? Array.from(numbers, number => `text ${number}`) : numbers;
}

/** Computes the case of a seed on the current backend. */
export async function outcomeOf(seed: number): Promise<Outcome> {
  const random = randomFrom(seed);
  const tried = kernelCase(random);
  const values = tried.operands.map(operand => valuesOf(operand, random));
  const {state} = tf.engine();
  const depth = state.scopeStack.length;
  tf.engine().startScope();
  try {
    const tensors = tried.operands.map((operand, i) => tf.tensor(values[i]!, operand.shape, dtypeOf(operand)));
    const isOnCpu = tf.getBackend() === 'cpu';
    const compute = (isOnCpu ? tried.onCpu : undefined) ?? tried.compute;
    const results = await attempt(() => [compute(...tensors)].flat());
    const weights =
      typeof results === 'string'
        ? []
        : results.map(({values: of}) => new Float32Array(of.length).map(() => 2 * random() - 1));
    const hasGradients = typeof results !== 'string' && results.every(({dtype}) => dtype === 'float32');
    const gradients = hasGradients ? await attempt(() => gradientsOf({...tried, compute}, tensors, weights)) : [];
    const {timesWritten} = tried;
    return {
      ...{results, gradients, weights, values},
      ...(isOnCpu && timesWritten && {timesWritten: await attempt(() => [timesWritten(...tensors)])}),
    };
  } finally {
    // A gradient that throws leaves scopes of tfjs open, and tensors that its tape keeps.
    const {activeTape} = state as {activeTape?: {saved?: tf.Tensor[]}[] | null};
    tf.dispose((activeTape ?? []).map(({saved}) => saved ?? []));
    state.activeTape = null as never;
    while (state.scopeStack.length > depth) {
      tf.engine().endScope();
    }
  }
}

/** Reads the tensors that `compute` gives, or gives the message of its error. */
async function attempt(compute: () => tf.Tensor[]): Promise<Results> {
  try {
    const tensors = compute();
    const values = await Promise.all(tensors.map(tensor => tensor.data()));
    return tensors.map(({shape, dtype}, i) => ({shape, dtype, values: values[i] as unknown as Result['values']}));
  } catch (error) {
    return String(error);
  }
}

/** The gradients of the results, weighted, in the floats. */
function gradientsOf(
  {compute, isConstant}: KernelCase,
  tensors: readonly tf.Tensor[],
  weights: readonly Float32Array[],
): tf.Tensor[] {
  const floats = tensors.filter(({dtype}) => dtype === 'float32');
  if (isConstant === true || floats.length === 0) {
    return [];
  }
  return tf.grads((...inputs: tf.Tensor[]) => {
    const all = tensors.map(tensor => (tensor.dtype === 'float32' ? inputs.shift()! : tensor));
    const sums = [compute(...all)].flat().map((y, i) => tf.sum<tf.Scalar>(tf.mul(y, tf.tensor(weights[i]!, y.shape))));
    return tf.addN(sums);
  })(floats);
}
