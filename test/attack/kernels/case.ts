import * as tf from '@tensorflow/tfjs';
import {pick, type Random} from '../damage';

/** An operation on tensors of random shapes. */
export interface KernelCase {
  /** What is computed, in words. */
  what: string;
  operands: readonly Operand[];
  compute: (...operands: tf.Tensor[]) => tf.Tensor | tf.Tensor[];
  /** Whether the result is linear in each of the operands, so that gradients are held by ⟨f(x), w⟩ = ⟨x, f*(w)⟩ too. */
  isLinear?: true;
  /** Only the result is compared. */
  isConstant?: true;
  /** Arguments that tfjs may refuse, or that it computes on some backends only. */
  isOdd?: true;
  /** What cpu computes in its place, where that backend lacks it. */
  onCpu?: KernelCase['compute'];
  /** How often each value is written: where indices are repeated, graphics cards write any of the updates. */
  timesWritten?: (...operands: tf.Tensor[]) => tf.Tensor;
  /** The library sums in another order than the stock backend. */
  isReordered?: true;
  /** The library computes it by matrix products. Those of webgpu multiply 0 by what is beyond a matrix, which may be NaN. */
  isProduct?: true;
  /** The library corrects the stock cpu backend too. */
  isCorrected?: true;
}

export interface Operand {
  shape: number[];
  /** Default: float32, or int32 if there is a bound. Only floats have gradients. */
  dtype?: 'float32' | 'int32' | 'bool' | 'string';
  /** Whole numbers from 0 on, below this one. */
  below?: number;
  /** Whether NaN, infinities and −0 are among the floats. */
  isSprinkled?: boolean;
}

/** The dtype of an operand. */
export function dtypeOf({dtype, below}: Operand): NonNullable<Operand['dtype']> {
  return dtype ?? (below === undefined ? 'float32' : 'int32');
}

export const floats = (...shape: number[]): Operand => ({shape});

const SIZES = [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17];

/** A length; now and then nothing. */
export function size(random: Random): number {
  return random() < 0.03 ? 0 : pick(random, SIZES);
}

/** A length that is not nothing. */
export function some(random: Random): number {
  return pick(random, SIZES);
}

/** The most numbers of a tensor. */
const MOST = 10_000;

export function shapeOf(random: Random, rank: number): number[] {
  const large = random() < 0.1 ? Math.floor(random() * rank) : -1;
  const shape = Array.from({length: rank}, () => size(random));
  for (let i = 0; tf.util.sizeFromShape(shape) > MOST; i++) {
    shape[i] = Math.min(shape[i]!, 3);
  }
  const others = tf.util.sizeFromShape(shape.filter((_, i) => i !== large));
  // What cpu computes in moments.
  return shape.map((length, i) =>
    i === large ? Math.max(length, Math.floor((random() * 4000) / (others + 16))) : length,
  );
}

export function axisOf(random: Random, rank: number): number {
  return Math.floor(random() * 2 * rank) - rank;
}

/** Some of the axes, in order, or all. */
export function axesOf(random: Random, rank: number): number[] {
  return Array.from({length: rank}, (_, i) => i).filter(() => random() < 0.5);
}

export const ACTIVATIONS = ['linear', 'relu', 'relu6', 'elu', 'sigmoid'] as const;

/** How a window of `count` axes walks. */
export function walk(random: Random, count: number) {
  const sizes = (most: number) => Array.from({length: count}, () => 1 + Math.floor(random() * most));
  return {window: sizes(4), strides: sizes(3), pad: pick(random, ['valid', 'same'] as const)};
}

/** An image that a window fits into, mostly. */
export function imageFor(random: Random, window: readonly number[], channels: number): number[] {
  return [size(random), ...window.map(length => Math.max(length - (random() < 0.05 ? 1 : 0), size(random))), channels];
}

/** The dtypes of numbers. */
export const NUMBERS = ['float32', 'float32', 'int32', 'bool'] as const;

/** An operand of some dtype, whose floats may hold what is no number. */
export function anyOperand(random: Random, shape: number[], dtypes: readonly Operand['dtype'][] = NUMBERS): Operand {
  return {shape, dtype: pick(random, dtypes), isSprinkled: random() < 0.3};
}

/** A shape, now and then another one that may not fit. */
export function bent(random: Random, shape: readonly number[]): number[] {
  const at = Math.floor(random() * shape.length);
  const kind = random();
  if (kind > 0.2 || shape.length === 0) {
    return [...shape];
  }
  return kind < 0.04
    ? [...shape.slice(0, at), ...shape.slice(at + 1)]
    : kind < 0.08
      ? [1, ...shape]
      : shape.map((length, i) => (i === at ? (kind < 0.12 ? 1 : length + 1) : length));
}

/** A list in another order, which depends on no engine's way of sorting. */
export function shuffled<T>(random: Random, list: readonly T[]): T[] {
  return list
    .map(entry => [random(), entry] as const)
    .sort(([a], [b]) => a - b)
    .map(([, entry]) => entry);
}

/** An integer from `least` to `most`. */
export function between(random: Random, least: number, most: number): number {
  return least + Math.floor(random() * (most - least + 1));
}

/** An axis, now and then one that is not there. */
export function anyAxis(random: Random, rank: number): number {
  return random() < 0.1 ? between(random, -rank - 1, rank) : axisOf(random, rank);
}

/** Some axes, in any order, which may be repeated. */
export function anyAxes(random: Random, rank: number): number[] {
  return Array.from({length: between(random, 0, 3)}, () => anyAxis(random, rank));
}
