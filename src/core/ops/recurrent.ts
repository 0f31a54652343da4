import * as tf from '@tensorflow/tfjs';
import {lastAxis} from './factors';
import type {CellProduct} from './cellProducts';

export interface CellWeights {
  /** `x·W`: `[n, in] · [in, gates · units]`. */
  input: CellProduct;
  /** `h·U`: `[n, units] · [units, gates · units]`, in the parts that the cell requests. */
  recurrent: CellProduct;
  /** `[gates · units]`. */
  bias: tf.Tensor | null;
  activation: (x: tf.Tensor) => tf.Tensor;
  /** The activation of the gates. */
  recurrentActivation: (x: tf.Tensor) => tf.Tensor;
}

/** One step of a cell: the input `[n, in]` and states `[n, units]` to new states. The first is the output. */
export type CellStep = (x: tf.Tensor, states: tf.Tensor[], weights: CellWeights) => tf.Tensor[];

export interface CellKind {
  step: CellStep;
  /** The parts of the recurrent kernel that it multiplies with: how many gates are in each. */
  recurrentParts: readonly number[];
}

// The steps follow the stock cells operation by operation, so the results are the same to the last bit. Only the
// backward pass differs: the stock cells compute the gradient of each kernel at each time step, even if it does not
// train.

/** `h' = f(x·W + b + h·U)`. */
export const simpleRNN: CellKind = {
  recurrentParts: [1],
  step: (x, [h], {input, recurrent, bias, activation}) => [
    activation(tf.add(plus(input(x, 0), bias), recurrent(state(h), 0))),
  ],
};

/** Gates `i, f, o` and candidate `g`: `c' = f∘c + i∘g`, `h' = o∘tanh(c')`, with the layer's own activations. */
export const lstm: CellKind = {
  recurrentParts: [4],
  step: (x, [h, c], {input, recurrent, bias, activation, recurrentActivation}) => {
    const z = plus(tf.add(input(x, 0), recurrent(state(h), 0)), bias);
    const [zi, zf, zg, zo] = gates(z, 4);
    const i = recurrentActivation(zi);
    const f = recurrentActivation(zf);
    const cell = tf.add(tf.mul(f, state(c)), tf.mul(i, activation(zg)));
    const o = recurrentActivation(zo);
    return [tf.mul(o, activation(cell)), cell];
  },
};

/** Gates `z, r` and candidate `g = f(x·W + (r∘h)·U)`: `h' = z∘h + (1 − z)∘g`. */
export const gru: CellKind = {
  recurrentParts: [2, 1],
  step: (x, [h], {input, recurrent, bias, activation, recurrentActivation}) => {
    const previous = state(h);
    const [xz, xr, xg] = gates(plus(input(x, 0), bias), 3);
    const [hz, hr] = gates(recurrent(previous, 0), 2);
    const z = recurrentActivation(tf.add(xz, hz));
    const r = recurrentActivation(tf.add(xr, hr));
    const g = activation(tf.add(xg, recurrent(tf.mul(r, previous), 1)));
    return [tf.add(tf.mul(z, previous), tf.mul(tf.add(1, tf.neg(z)), g))];
  },
};

/** The widths of the parts of a recurrent kernel, `[units, gates · units]`. */
export function partWidths({recurrentParts}: CellKind, recurrentKernel: tf.Tensor): number[] {
  const units = lastAxis(recurrentKernel.shape) / recurrentParts.reduce((sum, gates) => sum + gates, 0);
  return recurrentParts.map(gates => gates * units);
}

export function gates(z: tf.Tensor, count: number): [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor] {
  return tf.split(z, count, 1) as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
}

export function plus(x: tf.Tensor, bias: tf.Tensor | null): tf.Tensor {
  return bias === null ? x : tf.add(x, bias);
}

export function state(h: tf.Tensor | undefined): tf.Tensor {
  if (h === undefined) {
    throw new Error('A recurrent cell is called with all of its states.');
  }
  return h;
}
