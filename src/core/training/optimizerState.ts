import * as tf from '@tensorflow/tfjs';
import {misfitError, show, showShape} from '../../platform/errors';
import {fieldsOf} from '../../platform/tfjs/fields';
import {chainOf, type Counters, forgetSteps, isSlots, ownSlot} from '../../platform/tfjs/slots';

/** The counters and slots of an optimizer and of those inside it. */
export interface OptimizerState {
  /** Identifies optimizers that compute the same: classes and options without the learning rate, as text. */
  kind: string;
  /** The steps of each optimizer, from the outside in. */
  iterations: number[];
  /** The names that slots have in tfjs's own files, for each list of them. */
  names: Record<string, string[]>;
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
  return {
    state: {
      kind: kindOfOptimizer(optimizer),
      iterations: chain.map(link => fieldsOf<Counters>(link).iterations_ ?? 0),
      names,
    },
    tensors,
  };
}

/**
 * Checks that an optimizer can continue with a state, for a model whose trainable variables are these.
 *
 * @throws LoRAError if it cannot. The state may come from an untrusted file.
 */
export function checkOptimizerState(
  optimizer: tf.Optimizer,
  {kind, iterations, names}: OptimizerState,
  tensors: Readonly<Record<string, tf.Tensor>>,
  variables: readonly tf.LayerVariable[],
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
        if (
          !Array.isArray(slots) ||
          slots.length > variables.length ||
          !slots.every(slot => typeof slot === 'string')
        ) {
          return false;
        }
        const owners = ownersOf(slots, variables) ?? variables;
        return slots.every((_, i) => sameShape(tensors[`${key}/${i}`], owners[i]?.shape));
      }),
    );
  if (!isWhole) {
    throw misfitError(
      `The state of the optimizer is not that of ${variables.length} variables of shapes ` +
        `${variables.map(({shape}) => showShape(shape)).join(', ')}.`,
    );
  }
}

/** Lets an optimizer continue with a checked state, for the same variables. The tensors stay the caller's. */
export function restoreOptimizer(
  optimizer: tf.Optimizer,
  {iterations, names}: OptimizerState,
  tensors: Readonly<Record<string, tf.Tensor>>,
  variables: readonly tf.LayerVariable[],
): void {
  forgetSteps(optimizer);
  chainOf(optimizer).forEach((one, depth) => {
    for (const [field, value] of Object.entries(one) as [string, unknown][]) {
      const key = `${depth}/${field}`;
      if (value instanceof tf.Variable) {
        value.assign(tensors[key] as tf.Tensor);
      } else if (isSlots(value)) {
        const owners = ownersOf(names[key] ?? [], variables);
        for (const [i, originalName] of (names[key] ?? []).entries()) {
          const slot = {originalName, variable: tf.variable(tensors[`${key}/${i}`] as tf.Tensor, false)};
          value.push(slot);
          const owner = owners?.[i];
          if (owner !== undefined) {
            ownSlot(slot, owner.name);
          }
        }
      }
    }
    fieldsOf<Counters>(one).iterations_ = iterations[depth] ?? 0;
  });
}

/**
 * The variables that slots belong to, by the names of the slots: `fitOnFeatures` may train in another order than `fit`.
 * `undefined` if the variables had other names in the process that saved them.
 */
function ownersOf(
  slots: readonly string[],
  variables: readonly tf.LayerVariable[],
): readonly tf.LayerVariable[] | undefined {
  const byName = new Map(variables.map(variable => [variable.name, variable]));
  const owners = slots
    .map(name => byName.get(name.slice(0, name.lastIndexOf('/'))))
    .filter(owner => owner !== undefined);
  return new Set(owners).size === slots.length ? owners : undefined;
}

function kindOfOptimizer(optimizer: tf.Optimizer): string {
  const config = JSON.stringify(optimizer.getConfig(), (key, value: unknown) =>
    key === 'learningRate' ? undefined : value,
  );
  // Checkpoints of earlier versions have the short names.
  return `${optimizer.getClassName()} ${config}`.replaceAll('tfjs-lora>', '');
}

function sameShape(tensor: tf.Tensor | undefined, shape: tf.Shape | undefined): boolean {
  return tensor?.dtype === 'float32' && shape !== undefined && tf.util.arraysEqual(tensor.shape, shape as number[]);
}
