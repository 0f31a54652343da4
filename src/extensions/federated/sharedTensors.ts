import * as tf from '@tensorflow/tfjs';
import {makeAdapter} from '../../core/adapter/adapter';
import {listed, misfitError, numericError, showShape, throwFaults} from '../../platform/errors';
import {concatenate} from '../../platform/formats/byteReader';
import {adapterVariables} from '../../core/model/adapted';
import {getAdapter, setAdapter} from '../../core/model/currentAdapter';
import type {FloatArray} from './npy';
import {type ConfigValue, hashOf} from './records';

/** The key of a server's config under which it may say which tensors all nodes must have that do not travel. */
const FROZEN = 'frozen';

/** The variables of an adapter, by their names. */
type Variables = ReadonlyMap<string, tf.LayerVariable>;

/** Those of a model's adapter that train, or those that do not, in the order of their names. */
function variablesOf(model: tf.LayersModel, which: 'trained' | 'frozen'): Variables {
  const all = [...adapterVariables(model)]; // which also checks the model
  const trained = new Set(model.trainableWeights);
  const chosen = all.filter(([, variable]) => trained.has(variable) === (which === 'trained'));
  return new Map(chosen.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The tensors of an adapted model that travel: those of its adapter that train. */
export class SharedTensors {
  /** The most bytes that a message with all of them has: they may come as 64-bit floats, with what is around them. */
  readonly mostBytes: number;
  /** Names in the order in which they came. Strategies that clip updates compare them by their order. */
  private order: readonly string[] = [];

  /** @throws LoRAError if the model is not adapted, or nothing of its adapter trains. */
  constructor(private readonly model: tf.LayersModel) {
    const sizes = [...adapterVariables(model)].map(
      ([name, {shape}]) => 8 * tf.util.sizeFromShape(shape as number[]) + 4 * name.length + 2048,
    );
    this.mostBytes = sizes.reduce((sum, bytes) => sum + bytes, 2 ** 16);
    if (variablesOf(model, 'trained').size === 0) {
      throw misfitError('Nothing of the adapter trains, so that there is nothing to share.');
    }
  }

  /**
   * Puts what arrived on the model.
   *
   * @throws LoRAError if it does not fit, with a line for each misfit, or the other nodes began with other tensors.
   *     Then nothing is changed.
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
        `What does not travel differs from that of the other nodes: ${listed(names, 4)}. Start all nodes from one ` +
          'adapter file.',
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
   * What trains, as it is now, in the order in which it came.
   *
   * @throws LoRAError if a number is not finite: means with it would not be either.
   */
  async get(): Promise<Record<string, FloatArray>> {
    const trained: Record<string, FloatArray> = {};
    const variables = [...variablesOf(this.model, 'trained')];
    for (const [name, variable] of variables.sort(([a], [b]) => this.order.indexOf(a) - this.order.indexOf(b))) {
      const values = await valuesOf(variable);
      if (!values.every(Number.isFinite)) {
        throw numericError(`${name} is not finite after the training, and is not sent. Try a lower learning rate.`);
      }
      trained[name] = {shape: variable.shape as number[], values};
    }
    return trained;
  }

  /** The adapter as it is now, to be put back. */
  snapshot(): {restore: () => void; dispose: () => void} {
    const adapter = getAdapter(this.model);
    return {restore: () => setAdapter(this.model, adapter), dispose: () => adapter.dispose()};
  }
}

/**
 * Returns a fingerprint of the adapter's tensors that do not train, such as the `lora_A` of `'lora-fa'`: SHA-256 of
 * their 32-bit floats, little-endian, in the order of their names. A server that sends it as `frozen` in its config
 * keeps out nodes whose tensors differ.
 *
 * @param model an adapted model.
 * @param arriving values that replace those of the model, by the names of the tensors.
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

/** What is wrong with an array that arrived for a variable. */
function faultsOf(name: string, {shape, values}: FloatArray, variable: tf.LayerVariable | undefined): string[] {
  if (variable === undefined) {
    return [`The server sent "${name}", which this adapter does not have.`];
  }
  if (showShape(shape) !== showShape(variable.shape)) {
    return [`"${name}" has the shape ${showShape(variable.shape)}, and the server sent ${showShape(shape)}.`];
  }
  return values.every(Number.isFinite) ? [] : [`The server sent numbers for "${name}" that are not finite.`];
}
