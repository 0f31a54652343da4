import type * as tf from '@tensorflow/tfjs';

/** The settings of a step of every optimizer. */
export interface StepSettings {
  readonly learningRate: number;
  /** The factor of the gradient, applied first. */
  readonly gradientScale: number;
}

/** The settings of Adam's step, besides its slots. */
export interface AdamSettings extends StepSettings {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** `1 − β₁ᵗ` and `1 − β₂ᵗ`. */
  readonly corrections: readonly [number, number];
  /** The share of the variable that decay keeps before the step: `1 − rate · decay`, or 1. */
  readonly decayFactor: number;
}

export interface MomentumSettings extends StepSettings {
  readonly momentum: number;
  readonly nesterov: boolean;
}

/** A variable that gets a step: its gradient, what is kept for it, and what its step depends on. */
export type Update<Settings, Slots extends readonly tf.Variable[] = readonly tf.Variable[]> = readonly [
  value: tf.Variable,
  gradient: tf.Tensor,
  slots: Slots,
  settings: Settings,
];

export type AdamUpdate = Update<AdamSettings, readonly [first: tf.Variable, second: tf.Variable]>;
export type MomentumUpdate = Update<MomentumSettings, readonly [velocity: tf.Variable]>;
export type DescentUpdate = Update<StepSettings, readonly []>;

/** An optimizer's steps. Each gives the variables their new values, and changes the slots. */
export interface OptimizerSteps {
  adam(updates: readonly AdamUpdate[]): void;
  momentum(updates: readonly MomentumUpdate[]): void;
  descend(updates: readonly DescentUpdate[]): void;
  /** The sum of the squares of a gradient, synchronously; only if values can be read synchronously. */
  readonly sumOfSquares?: (gradient: tf.Tensor) => number;
}
