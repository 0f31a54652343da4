import type * as tf from '@tensorflow/tfjs';
import {faultLines, LoRAError, showShape} from '../errors';
import {adapterConfig} from '../model/adapted';
import {isWrapper} from '../layers/wrapperLayer';
import {sitesOf} from '../rewire/walk';
import type {Checkpoint, CheckpointState} from './checkpointFile';
import {stateOfOptimizer} from './optimizerState';
import type {CallbackState} from './resumed';
import {changingVariables} from './snapshot';

// The kinds of tensors in a checkpoint, which their names begin with.
const MODEL = 'model/';
const OPTIMIZER = 'optimizer/';
const CALLBACK = 'callback/';

/** What a checkpoint of a model is to hold. Its tensors are those of the model, its optimizer and the callbacks. */
export function captureRun(
  model: tf.LayersModel,
  where: Pick<CheckpointState, 'number' | 'epoch' | 'batch' | 'step' | 'seed'>,
  callbacks: ReadonlyMap<string, CallbackState>,
): Checkpoint {
  const {state: optimizer, tensors: slots} = stateOfOptimizer(model.optimizer);
  const variables = [...changingVariables(model)].map(([name, variable]) => [name, variable.read()] as const);
  const kept = [...callbacks].flatMap(([part, {tensors}]) =>
    Object.entries(tensors).map(([name, tensor]) => [`${part}/${name}`, tensor] as const),
  );
  return {
    state: {
      ...where,
      config: configOf(model),
      optimizer,
      callbacks: Object.fromEntries([...callbacks].map(([part, {values}]) => [part, values])),
    },
    tensors: {
      ...prefixed(MODEL, variables),
      ...prefixed(OPTIMIZER, Object.entries(slots)),
      ...prefixed(CALLBACK, kept),
    },
  };
}

/** The tensors of a checkpoint by what they belong to. */
export function partsOf({state, tensors}: Checkpoint): {
  variables: Record<string, tf.Tensor>;
  slots: Record<string, tf.Tensor>;
  callbacks: Map<string, CallbackState>;
} {
  const kept = below(CALLBACK, tensors);
  const callbacks = new Map(
    Object.entries(state.callbacks).map(([part, values]) => [part, {values, tensors: below(`${part}/`, kept)}]),
  );
  return {variables: below(MODEL, tensors), slots: below(OPTIMIZER, tensors), callbacks};
}

/**
 * Checks that the weights of a checkpoint are those of a model.
 *
 * @throws LoRAError with a line for each misfit.
 */
export function checkWeights(
  model: tf.LayersModel,
  {config}: CheckpointState,
  values: Readonly<Record<string, tf.Tensor>>,
): void {
  const variables = changingVariables(model);
  const faults = [...variables].flatMap(([name, variable]) => {
    const {shape} = variable.read();
    const found = values[name]?.shape;
    return found === undefined
      ? [`${name}: not in the checkpoint`]
      : found.join() === shape.join()
        ? []
        : [`${name}: shape ${showShape(found)} in the checkpoint, ${showShape(shape)} in the model`];
  });
  faults.push(
    ...Object.keys(values)
      .filter(name => !variables.has(name))
      .map(name => `${name}: not in the model`),
  );
  if (faults.length === 0 && config !== configOf(model)) {
    faults.push('the adapter has another strength or method: apply it with the options that the run began with');
  }
  if (faults.length > 0) {
    throw new LoRAError(`It is of another model:\n${faultLines(faults)}`);
  }
}

/** What the adapter of a model is, as text; of a plain model the empty one. */
function configOf(model: tf.LayersModel): string {
  return sitesOf(model).some(({layer}) => isWrapper(layer)) ? JSON.stringify(adapterConfig(model)) : '';
}

function prefixed(prefix: string, entries: readonly (readonly [string, tf.Tensor])[]): Record<string, tf.Tensor> {
  return Object.fromEntries(entries.map(([name, tensor]) => [prefix + name, tensor]));
}

/** The tensors whose names begin so, by the rest of their names. */
function below(prefix: string, tensors: Readonly<Record<string, tf.Tensor>>): Record<string, tf.Tensor> {
  const entries = Object.entries(tensors).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(entries.map(([name, tensor]) => [name.slice(prefix.length), tensor]));
}
