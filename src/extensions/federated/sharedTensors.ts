import * as tf from '@tensorflow/tfjs';
import {makeAdapter} from '../../core/adapter/adapter';
import {listed, misfitError, numericError, showShape, throwFaults} from '../../platform/errors';
import {concatenate} from '../../platform/formats/byteReader';
import {adapterVariables} from '../../core/model/adapted';
import {getAdapter, setAdapter} from '../../core/model/currentAdapter';
import type {FloatArray} from './npy';
import {type ConfigValue, hashOf} from './records';

/** The config key with which a server may require the same frozen tensors of all nodes. */
const FROZEN = 'frozen';

/** The variables of an adapter, by their names. */
type Variables = ReadonlyMap<string, tf.LayerVariable>;

/** Returns an adapter's trainable variables, or its frozen ones, sorted by name. */
function variablesOf(model: tf.LayersModel, which: 'trained' | 'frozen'): Variables {
  const all = [...adapterVariables(model)]; // which also checks the model
  const trained = new Set(model.trainableWeights);
  const chosen = all.filter(([, variable]) => trained.has(variable) === (which === 'trained'));
  return new Map(chosen.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The shared tensors of an adapted model: the trainable ones of its adapter. */
export class SharedTensors {
  /** The most bytes of a message with all of them: they may come as 64-bit floats, plus overhead. */
  readonly mostBytes: number;
  /** Names in the order of arrival. Strategies that clip updates compare tensors in this order. */
  private order: readonly string[] = [];

  /** @throws LoRAError if the model is not adapted, or nothing of its adapter trains. */
  constructor(private readonly model: tf.LayersModel) {
    const sizes = [...adapterVariables(model)].map(
      ([name, {shape}]) => 8 * tf.util.sizeFromShape(shape as number[]) + 4 * name.length + 2048,
    );
    this.mostBytes = sizes.reduce((sum, bytes) => sum + bytes, 2 ** 16);
    if (variablesOf(model, 'trained').size === 0) {
      throw misfitError('The adapter has no trainable tensors to share.');
    }
  }

  /**
   * Sets the arrived tensors on the model.
   *
   * @throws LoRAError if they do not fit, with a line for each fault, or if the other nodes started from other
   *     frozen tensors. Then nothing is changed.
   */
  async set(
    arrays: Readonly<Record<string, FloatArray>>,
    config: Readonly<Record<string, ConfigValue>>,
  ): Promise<void> {
    const all = adapterVariables(this.model);
    const missing = [...variablesOf(this.model, 'trained').keys()].filter(name => !Object.hasOwn(arrays, name));
    throwFaults(
      [
        ...missing.map(name => `The server did not send "${name}".`),
        ...Object.entries(arrays).flatMap(([name, array]) => faultsOf(name, array, all.get(name))),
      ],
      'ERR_MISFIT',
    );
    const said = config[FROZEN];
    if (said !== undefined && said !== (await frozenFingerprint(this.model, arrays))) {
      const names = [...variablesOf(this.model, 'frozen').keys()];
      throw misfitError(
        `Frozen tensors differ from other nodes: ${listed(names, 4)}. Start all nodes from one adapter file.`,
      );
    }
    const current = getAdapter(this.model);
    const arrived = Object.entries(arrays).map(([name, {shape, values}]) => [name, tf.tensor(values, shape)] as const);
    const changed = makeAdapter(current.config, {...current.tensors, ...Object.fromEntries(arrived)});
    try {
      setAdapter(this.model, changed);
      this.order = Object.keys(arrays);
    } finally {
      changed.dispose();
      current.dispose();
    }
  }

  /**
   * Returns the current trainable values, in the order of arrival.
   *
   * @throws LoRAError if a value is not finite, which would spoil the mean.
   */
  async get(): Promise<Record<string, FloatArray>> {
    const trained: Record<string, FloatArray> = {};
    const variables = [...variablesOf(this.model, 'trained')];
    for (const [name, variable] of variables.sort(([a], [b]) => this.order.indexOf(a) - this.order.indexOf(b))) {
      const values = await valuesOf(variable);
      if (!values.every(Number.isFinite)) {
        throw numericError(`${name} is not finite after training and was not sent. Try a lower learning rate.`);
      }
      trained[name] = {shape: variable.shape as number[], values};
    }
    return trained;
  }

  /** Returns the current adapter, to be restored later. */
  snapshot(): {restore: () => void; dispose: () => void} {
    const adapter = getAdapter(this.model);
    return {restore: () => setAdapter(this.model, adapter), dispose: () => adapter.dispose()};
  }
}

/**
 * Returns a fingerprint of the adapter's frozen tensors, such as the `lora_A` of `'lora-fa'`: SHA-256 of their 32-bit
 * floats, little-endian, sorted by name. If the server sends it as `frozen` in its config, nodes with other tensors are
 * refused.
 *
 * @param model an adapted model.
 * @param arriving values that replace those of the model, by tensor name.
 * @returns the hash in hexadecimal.
 * @throws LoRAError `ERR_NOT_ADAPTED` if the model is not adapted.
 * @example
 *     console.log(await frozenFingerprint(model));
 * @experimental
 */
export async function frozenFingerprint(
  model: tf.LayersModel,
  arriving: Readonly<Record<string, FloatArray>> = {},
): Promise<string> {
  const parts: Uint8Array[] = [];
  for (const [name, variable] of variablesOf(model, 'frozen')) {
    const {values} = arriving[name] ?? {values: await valuesOf(variable)};
    parts.push(new Uint8Array(Float32Array.from(values).buffer));
  }
  return hashOf(concatenate(parts));
}

async function valuesOf(variable: tf.LayerVariable): Promise<Float32Array> {
  return (await variable.read().data()) as Float32Array;
}

function faultsOf(name: string, {shape, values}: FloatArray, variable: tf.LayerVariable | undefined): string[] {
  if (variable === undefined) {
    return [`The server sent "${name}", which this adapter does not have.`];
  }
  if (showShape(shape) !== showShape(variable.shape)) {
    return [`"${name}" has shape ${showShape(variable.shape)}, but the server sent ${showShape(shape)}.`];
  }
  return values.every(Number.isFinite) ? [] : [`The server sent values for "${name}" that are not finite.`];
}
