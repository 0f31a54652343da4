import * as tf from '@tensorflow/tfjs';
import {misfitError, show, showShape} from '../../platform/errors';
import {forgetSteps, isSlots} from '../../platform/tfjs/training';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {Counters} from '../../platform/tfjs/training';
import type {NestedOptimizer} from './nestedOptimizer';

/** The counters and slots of an optimizer and of those inside it. */
export interface OptimizerState {
  /** Identifies optimizers that compute the same: classes and options without the learning rate, as text. */
  kind: string;
  /** The steps of each optimizer, from the outside in. */
  iterations: number[];
  /** The names that slots have in tfjs's own files, for each list of them. */
  names: Record<string, string[]>;
}

/** An optimizer and those inside it, from the outside in. */
function chainOf(optimizer: tf.Optimizer): tf.Optimizer[] {
  // `instanceof` takes every optimizer of tfjs for one of every other class.
  return 'inner' in optimizer ? [optimizer, ...chainOf((optimizer as NestedOptimizer).inner)] : [optimizer];
}

/** The state of an optimizer, and its tensors by name. They stay the optimizer's. */
export function stateOfOptimizer(optimizer: tf.Optimizer): {state: OptimizerState; tensors: Record<string, tf.Tensor>} {
  const tensors: Record<string, tf.Tensor> = {};
  const names: OptimizerState['names'] = {};
  const chain = chainOf(optimizer);
  chain.forEach((one, depth) => {
    for (const [field, value] of Object.entries(one) as [string, unknown][]) {
      const key = `${depth}/${field}`;
      if (value instanceof tf.Variable) {
        tensors[key] = value;
      } else if (isSlots(value)) {
        names[key] = value.map(({originalName}) => originalName);
        value.forEach(({variable}, i) => (tensors[`${key}/${i}`] = variable));
      }
    }
  });
  return {state: {kind: kindOfOptimizer(optimizer), iterations: chain.map(countOf), names}, tensors};
}

/**
 * Checks that an optimizer can continue with a state, for a model whose trainable variables have these shapes.
 *
 * @throws LoRAError if it cannot. The state may come from an untrusted file.
 */
export function checkOptimizerState(
  optimizer: tf.Optimizer,
  {kind, iterations, names}: OptimizerState,
  tensors: Readonly<Record<string, tf.Tensor>>,
  shapes: readonly tf.Shape[],
): void {
  if (kind !== kindOfOptimizer(optimizer)) {
    throw misfitError(
      `The optimizer is ${kindOfOptimizer(optimizer)}, but was ${show(kind)}. Compile the model with one of that kind.`,
    );
  }
  const chain = chainOf(optimizer);
  const isWhole =
    Array.isArray(iterations) &&
    iterations.length === chain.length &&
    iterations.every(count => Number.isSafeInteger(count) && count >= 0) &&
    chain.every((one, depth) =>
      (Object.entries(one) as [string, unknown][]).every(([field, value]) => {
        const key = `${depth}/${field}`;
        if (value instanceof tf.Variable) {
          return sameShape(tensors[key], (value as tf.Variable).shape);
        }
        const slots = isSlots(value) ? (names[key] as unknown) : [];
        return (
          Array.isArray(slots) &&
          slots.length <= shapes.length &&
          slots.every((name, i) => typeof name === 'string' && sameShape(tensors[`${key}/${i}`], shapes[i]))
        );
      }),
    );
  if (!isWhole) {
    throw misfitError(
      `The state of the optimizer is not that of ${shapes.length} variables of shapes ` +
        `${shapes.map(shape => showShape(shape)).join(', ')}.`,
    );
  }
}

/** Lets an optimizer continue with a checked state. The tensors stay the caller's. */
export function restoreOptimizer(
  optimizer: tf.Optimizer,
  {iterations, names}: OptimizerState,
  tensors: Readonly<Record<string, tf.Tensor>>,
): void {
  forgetSteps(optimizer);
  chainOf(optimizer).forEach((one, depth) => {
    for (const [field, value] of Object.entries(one) as [string, unknown][]) {
      const key = `${depth}/${field}`;
      if (value instanceof tf.Variable) {
        value.assign(tensors[key] as tf.Tensor);
      } else if (isSlots(value)) {
        value.push(
          ...(names[key] ?? []).map((originalName, i) => ({
            originalName,
            variable: tf.variable(tensors[`${key}/${i}`] as tf.Tensor, false),
          })),
        );
      }
    }
    fieldsOf<Counters>(one).iterations_ = iterations[depth] ?? 0;
  });
}

function kindOfOptimizer(optimizer: tf.Optimizer): string {
  const config = JSON.stringify(optimizer.getConfig(), (key, value: unknown) =>
    key === 'learningRate' ? undefined : value,
  );
  // Checkpoints of earlier versions have the short names.
  return `${optimizer.getClassName()} ${config}`.replaceAll('tfjs-lora>', '');
}

function countOf(optimizer: tf.Optimizer): number {
  return fieldsOf<Counters>(optimizer).iterations_ ?? 0;
}

function sameShape(tensor: tf.Tensor | undefined, shape: tf.Shape | undefined): boolean {
  return tensor?.dtype === 'float32' && shape !== undefined && tf.util.arraysEqual(tensor.shape, shape as number[]);
}
