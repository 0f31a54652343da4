import * as tf from '@tensorflow/tfjs';
import {denseOp} from './dense';
import {lastAxis} from './factors';
import {linear} from './linear';
import type {Linear} from './linearOp';

/** The frozen weights of a recurrent cell and its activations. */
export interface CellWeights {
  /** `[in, gates · units]`. */
  kernel: tf.Tensor;
  /** `[units, gates · units]`. */
  recurrentKernel: tf.Tensor;
  /** `[gates · units]`. */
  bias: tf.Tensor | null;
  activation: (x: tf.Tensor) => tf.Tensor;
  /** Of the gates. */
  recurrentActivation: (x: tf.Tensor) => tf.Tensor;
}

/** One step of a cell: the input `[n, in]` and the states, `[n, units]` each, to the new states, of which the first is the output. */
export type CellStep = (x: tf.Tensor, states: tf.Tensor[], weights: CellWeights) => tf.Tensor[];

// The steps follow the stock cells operation by operation, so that the results are the same to the last bit. What differs is the
// backward pass: the stock cells compute the gradient of each kernel at each time step, whether it trains or not.

/** `h' = f(x·W + b + h·U)`. */
export const simpleRNNStep: CellStep = (x, [h], {kernel, recurrentKernel, bias, activation}) => {
  const input = plus(product(x, kernel), bias);
  return [activation(tf.add(input, product(state(h), recurrentKernel)))];
};

/** Gates `i, f, o` and candidate `g`: `c' = f∘c + i∘g`, `h' = o∘tanh(c')`, with the layer's activations in place of σ and tanh. */
export const lstmStep: CellStep = (x, [h, c], {kernel, recurrentKernel, bias, activation, recurrentActivation}) => {
  const z = plus(tf.add(product(x, kernel), product(state(h), recurrentKernel)), bias);
  const [zi, zf, zg, zo] = tf.split(z, 4, 1) as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
  const i = recurrentActivation(zi);
  const f = recurrentActivation(zf);
  const cell = tf.add(tf.mul(f, state(c)), tf.mul(i, activation(zg)));
  const o = recurrentActivation(zo);
  return [tf.mul(o, activation(cell)), cell];
};

/** Gates `z, r` and candidate `g = f(x·W + (r∘h)·U)`: `h' = z∘h + (1 − z)∘g`. */
export const gruStep: CellStep = (x, [h], {kernel, recurrentKernel, bias, activation, recurrentActivation}) => {
  const previous = state(h);
  const units = lastAxis(previous.shape);
  const gates = columns(0, 2 * units);
  const candidate = columns(2 * units, units);
  const [xz, xr, xg] = tf.split(plus(product(x, kernel), bias), 3, 1) as [tf.Tensor, tf.Tensor, tf.Tensor];
  const [hz, hr] = tf.split(product(previous, recurrentKernel, gates), 2, 1) as [tf.Tensor, tf.Tensor];
  const z = recurrentActivation(tf.add(xz, hz));
  const r = recurrentActivation(tf.add(xr, hr));
  const g = activation(tf.add(xg, product(tf.mul(r, previous), recurrentKernel, candidate)));
  return [tf.add(tf.mul(z, previous), tf.mul(tf.add(1, tf.neg(z)), g))];
};

/** `x·W` with no gradient for `W`. */
function product(x: tf.Tensor, kernel: tf.Tensor, op = denseOp): tf.Tensor {
  return linear(op, x, {kernel, bias: null, biasApart: false, factors: null}, LINEAR);
}

const LINEAR = {fused: 'linear', gradient: null, apply: (x: tf.Tensor) => x} as const;

/**
 * The product with some columns of a kernel. They are cut out anew in the backward pass: a piece that outlived the step would have to be
 * kept for each of them.
 */
function columns(start: number, size: number): Linear {
  const cut = (kernel: tf.Tensor) => tf.slice(kernel, [0, start], [-1, size]);
  return {
    forward: (x, kernel, bias, activation) => denseOp.forward(x, cut(kernel), bias, activation),
    inputGradient: (dz, kernel, inputShape) => denseOp.inputGradient(dz, cut(kernel), inputShape),
    kernelGradient: (x, dz, kernelShape) => {
      const after = lastAxis(kernelShape) - start - size;
      return tf.pad(denseOp.kernelGradient(x, dz, kernelShape), [
        [0, 0],
        [start, after],
      ]);
    },
  };
}

function plus(x: tf.Tensor, bias: tf.Tensor | null): tf.Tensor {
  return bias === null ? x : tf.add(x, bias);
}

function state(h: tf.Tensor | undefined): tf.Tensor {
  if (h === undefined) {
    throw new Error('A recurrent cell is called with all of its states.');
  }
  return h;
}
