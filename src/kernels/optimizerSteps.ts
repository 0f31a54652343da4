import * as tf from '@tensorflow/tfjs';

/** What a step depends on, whatever the optimizer. */
export interface StepSettings {
  readonly learningRate: number;
  /** What the gradient is multiplied by first. */
  readonly gradientScale: number;
}

/** What Adam's step depends on, beside its slots. */
export interface AdamSettings extends StepSettings {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** `1 − β₁ᵗ` and `1 − β₂ᵗ`. */
  readonly corrections: readonly [number, number];
  /** What decay leaves of the variable before the step: `1 − rate · decay`, or 1. */
  readonly kept: number;
}

export interface MomentumSettings extends StepSettings {
  readonly momentum: number;
  readonly nesterov: boolean;
}

/**
 * An optimizer's step for one variable, in one launch or few. Each gives the variable's new value, as a tensor that the
 * caller owns, and changes the slots.
 */
export interface OptimizerSteps {
  adam(
    value: tf.Tensor,
    gradient: tf.Tensor,
    slots: readonly [first: tf.Variable, second: tf.Variable],
    settings: AdamSettings,
  ): tf.Tensor;
  momentum(
    value: tf.Tensor,
    gradient: tf.Tensor,
    slots: readonly [velocity: tf.Variable],
    settings: MomentumSettings,
  ): tf.Tensor;
  descend(value: tf.Tensor, gradient: tf.Tensor, settings: StepSettings): tf.Tensor;
  /** The sum of the squares of a gradient, without a promise; only where numbers can be read at once. */
  readonly sumOfSquares?: (gradient: tf.Tensor) => number;
}

/** Gives slots other values, and frees the tensors that held these. */
export function replaceSlots(slots: readonly tf.Variable[], values: readonly tf.Tensor[]): void {
  slots.forEach((slot, i) => {
    slot.assign(values[i] as tf.Tensor);
  });
  tf.dispose([...values]);
}
