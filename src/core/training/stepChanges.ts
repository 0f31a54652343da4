import * as tf from '@tensorflow/tfjs';
import {capabilities} from '../../backends/shared/capabilities';
import {hostSteps} from '../../backends/shared/hostSteps';
import type {OptimizerSteps} from '../../backends/shared/optimizerSteps';

/** The arguments of `applyGradients`: by name, or as a list. */
export type Gradients = Parameters<tf.Optimizer['applyGradients']>[0];

/** The name of a variable, and its gradient if it has one. */
export type NamedGradient = readonly [name: string, gradient: tf.Tensor | null];

/** How outer optimizers change the step of an inner one. */
export interface StepChanges {
  /** The factor of every gradient. Default: 1. */
  readonly gradientScale?: number;
  /** The factor of the learning rate of a variable. Default: 1. */
  readonly rateOf?: (name: string) => number;
}

export interface ChangeableOptimizer extends tf.Optimizer {
  applyChanged(gradients: Gradients, changes: StepChanges): void;
}

/** The steps of the current backend for variables with some gradients, where it has any besides tfjs's operations. */
export function stepsFor(gradients: readonly tf.Tensor[]): OptimizerSteps | undefined {
  const able = capabilities();
  return able.stepsOnHost === true ? hostSteps : able.optimizerSteps?.(gradients);
}

export function takeStep(optimizer: tf.Optimizer, gradients: Gradients, changes: StepChanges): void {
  if ('applyChanged' in optimizer) {
    (optimizer as ChangeableOptimizer).applyChanged(gradients, changes);
  } else {
    changedFromOutside(gradients, changes, scaled => optimizer.applyGradients(scaled));
  }
}

/**
 * A changed step of an optimizer with one learning rate for all variables. A variable that is divided before the step
 * and multiplied after it moves further by that factor; for powers of two, both are exact.
 *
 * @param keptOf the share of a variable that decay keeps before the step, by its factor. Default: all.
 */
export function changedFromOutside(
  gradients: Gradients,
  {gradientScale = 1, rateOf = () => 1}: StepChanges,
  apply: (gradients: Gradients) => void,
  keptOf: (variable: tf.Variable, factor: number) => number = () => 1,
): void {
  const trained = namedGradients(gradients).filter(([, gradient]) => gradient !== null);
  tf.tidy(() => {
    for (const [name] of trained) {
      const variable = variableOf(name);
      const factor = rateOf(name);
      scaleVariable(variable, keptOf(variable, factor) / factor);
    }
    apply(gradientScale === 1 ? gradients : mapGradients(gradients, gradient => tf.mul(gradient, gradientScale)));
    trained.forEach(([name]) => scaleVariable(variableOf(name), rateOf(name)));
  });
}

function scaleVariable(variable: tf.Variable, factor: number): void {
  if (factor !== 1) {
    variable.assign(tf.mul(variable, factor));
  }
}

/** Gradients as a list, in the order of tfjs. */
export function namedGradients(gradients: Gradients): NamedGradient[] {
  return Array.isArray(gradients)
    ? gradients.map(({name, tensor}) => [name, tensor as tf.Tensor | null | undefined] as const).map(orNull)
    : Object.entries(gradients).map(orNull);
}

/** The gradients that exist. */
export function presentGradients(gradients: Gradients): tf.Tensor[] {
  return namedGradients(gradients).flatMap(([, gradient]) => gradient ?? []);
}

function orNull([name, gradient]: readonly [string, tf.Tensor | null | undefined]): NamedGradient {
  return [name, gradient ?? null];
}

/** Other gradients for the same variables, in the same order. Variables without one stay without. */
export function mapGradients(gradients: Gradients, f: (gradient: tf.Tensor, i: number) => tf.Tensor): Gradients {
  return namedGradients(gradients).map(([name, gradient], i) => ({
    name,
    // tfjs skips what is missing here, though its types do not say so.
    tensor: (gradient && f(gradient, i)) as tf.Tensor,
  }));
}

export function variableOf(name: string): tf.Variable {
  return tf.engine().registeredVariables[name] as tf.Variable;
}
