import type * as tf from '@tensorflow/tfjs';
import {listed, showShape, throwFaults} from '../../platform/errors';
import {adapterConfig} from '../model/adapted';
import {isWrapper} from '../layers/wrapperLayer';
import {sitesOf} from '../rewire/walk';
import {namesNotFinite} from '../../platform/tfjs/finite';
import type {Checkpoint, CheckpointState} from './checkpointFile';
import {stateOfOptimizer} from './optimizerState';
import {copyRandomStates} from './randomState';
import type {CallbackState} from './resumed';
import {changingVariables, trainedVariables} from './snapshot';

// The kinds of tensors in a checkpoint, as prefixes of their names.
const MODEL = 'model/';
const OPTIMIZER = 'optimizer/';
const CALLBACK = 'callback/';

/** The contents of a model's checkpoint. The tensors are those of the model, its optimizer and the callbacks. */
export function captureRun(
  model: tf.LayersModel,
  where: Pick<CheckpointState, 'number' | 'epoch' | 'batch' | 'step' | 'seed'>,
  callbacks: ReadonlyMap<string, CallbackState>,
): Checkpoint {
  const {state: optimizer, tensors: slots} = stateOfOptimizer(model.optimizer);
  const variables = [...changingVariables(model)].map(([name, variable]) => [name, variable.read()] as const);
  const callbackTensors = [...callbacks].flatMap(([stateName, {tensors}]) =>
    Object.entries(tensors).map(([name, tensor]) => [`${stateName}/${name}`, tensor] as const),
  );
  return {
    state: {
      ...where,
      config: configOf(model),
      optimizer,
      random: copyRandomStates(model),
      callbacks: Object.fromEntries([...callbacks].map(([stateName, {values}]) => [stateName, values])),
    },
    tensors: {
      ...prefixed(MODEL, variables),
      ...prefixed(OPTIMIZER, Object.entries(slots)),
      ...prefixed(CALLBACK, callbackTensors),
    },
  };
}

export function partsOf({state, tensors}: Checkpoint): {
  variables: Record<string, tf.Tensor>;
  slots: Record<string, tf.Tensor>;
  callbacks: Map<string, CallbackState>;
} {
  const saved = below(CALLBACK, tensors);
  const callbacks = new Map(
    Object.entries(state.callbacks).map(([stateName, values]) => [
      stateName,
      {values, tensors: below(`${stateName}/`, saved)},
    ]),
  );
  return {variables: below(MODEL, tensors), slots: below(OPTIMIZER, tensors), callbacks};
}

/** What trains in a model's checkpoint and is not finite, as a sentence. */
export async function partsNotFinite(model: tf.LayersModel, checkpoint: Checkpoint): Promise<string | undefined> {
  const variables = trainedVariables(model);
  const {variables: values, slots, callbacks} = partsOf(checkpoint);
  const trained = (tensors: Readonly<Record<string, tf.Tensor>>, suffix: string) =>
    Object.entries(tensors)
      .filter(([name]) => variables.has(name))
      .map(([name, tensor]) => [name + suffix, tensor] as const);
  const names = await namesNotFinite(
    Object.fromEntries([
      ...trained(values, ''),
      ...Object.entries(slots).map(([name, tensor]) => [`slot ${name} of the optimizer`, tensor] as const),
      ...[...callbacks].flatMap(([stateName, {tensors}]) => trained(tensors, `, kept as ${stateName},`)),
    ]),
  );
  return names.length === 0
    ? undefined
    : `${listed(names, 5)} hold${names.length === 1 ? 's' : ''} NaN or an infinity.`;
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
    const value = values[name];
    return value === undefined ? [`${name}: not in the checkpoint`] : misfits(name, value, variable.read());
  });
  faults.push(
    ...Object.keys(values)
      .filter(name => !variables.has(name))
      .map(name => `${name}: not in the model`),
  );
  if (faults.length === 0 && config !== configOf(model)) {
    faults.push('the adapter has another strength or method: apply it with the options that the run began with');
  }
  throwFaults(faults, 'ERR_MISFIT', 'It belongs to another model:');
}

/**
 * Checks that callbacks' states of a model's variables fit them.
 *
 * @throws LoRAError with a line for each misfit.
 */
export function checkKept(model: tf.LayersModel, callbacks: ReadonlyMap<string, CallbackState>): void {
  const variables = changingVariables(model);
  const faults = [...callbacks].flatMap(([stateName, {tensors}]) =>
    Object.entries(tensors).flatMap(([name, tensor]) => {
      const variable = variables.get(name);
      return variable === undefined
        ? [`${name}, kept as ${stateName}: not in the model`]
        : misfits(`${name}, kept as ${stateName}`, tensor, variable.read());
    }),
  );
  throwFaults(faults, 'ERR_DAMAGED', 'The checkpoint is damaged:');
}

function misfits(name: string, tensor: tf.Tensor, expected: tf.Tensor): string[] {
  const sameShape = tensor.shape.join() === expected.shape.join();
  return sameShape && tensor.dtype === expected.dtype
    ? []
    : [
        `${name}: ${tensor.dtype} of shape ${showShape(tensor.shape)} in the checkpoint, ${expected.dtype} of ` +
          `${showShape(expected.shape)} in the model`,
      ];
}

/** The config of a model's adapter as text; that of an empty adapter for a plain model. */
function configOf(model: tf.LayersModel): string {
  return sitesOf(model).some(({layer}) => isWrapper(layer)) ? JSON.stringify(adapterConfig(model)) : '';
}

function prefixed(prefix: string, entries: readonly (readonly [string, tf.Tensor])[]): Record<string, tf.Tensor> {
  return Object.fromEntries(entries.map(([name, tensor]) => [prefix + name, tensor]));
}

function below(prefix: string, tensors: Readonly<Record<string, tf.Tensor>>): Record<string, tf.Tensor> {
  const entries = Object.entries(tensors).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(entries.map(([name, tensor]) => [name.slice(prefix.length), tensor]));
}
