import * as tf from '@tensorflow/tfjs';
import {type Adapter, makeAdapter} from '../adapter/adapter';
import {checkAdapter, checkAdapterConfig} from '../adapter/checkAdapter';
import {savedBase, withBase} from '../adapter/base';
import {
  checkOptions,
  damagedError,
  LoRAError,
  messageOf,
  misfitError,
  show,
  throwFaults,
  unsupportedError,
} from '../../platform/errors';
import {readSafetensors} from '../../platform/formats/explained';
import {duplicateKeys} from '../../platform/formats/jsonText';
import type {Values} from '../../platform/formats/layout';
import type {FiniteOptions, FloatType} from '../../platform/formats/numbers';
import {type CallOptions, checkCallOptions, stepsOf} from '../../platform/signals';
import {type FileBytes, encodeSafetensors} from '../../platform/formats/safetensors';
import {packShared, unpackShared, withoutParts} from './sharedTensors';

/** How the numbers of an adapter are stored. */
export type StoredType = 'float32' | 'float16' | 'bfloat16';

/** How an adapter is written. */
export interface SafetensorsOptions extends FiniteOptions {
  /** Half the bytes at `'float16'` or `'bfloat16'`, with 11 or 8 significant bits. Default: `'float32'`. */
  dtype?: StoredType;
}

const TYPES: Readonly<Record<StoredType, FloatType>> = {float32: 'F32', float16: 'F16', bfloat16: 'BF16'};
/** The name of the format in adapter files. */
export const FORMAT = 'tfjs-lora-adapter';
const VERSION = '1';

/**
 * The bytes of a safetensors file with an adapter: its tensors under their names, and its config as text in the header.
 *
 * @param take gives the adapter, once the options are checked.
 */
export async function encodeAdapter(
  take: () => Adapter,
  options: SafetensorsOptions & CallOptions,
): Promise<FileBytes> {
  checkOptions(options, {dtype: true, allowNonFinite: true, signal: true, onProgress: true});
  const {dtype = 'float32', signal, onProgress, ...finite} = options;
  const call = {signal, onProgress};
  checkCallOptions(call);
  const type = floatTypeOf(dtype);
  const adapter = take();
  checkAdapter(adapter);
  const {config, values, base} = await contentsOf(adapter, call);
  const metadata = {
    format: FORMAT,
    version: VERSION,
    config: JSON.stringify(config),
    ...(base && {base: JSON.stringify(base)}),
  };
  return encodeSafetensors(values, {dtype: type, metadata, ...finite});
}

/** The contents of an adapter file: config, values, and some values of its base. */
export async function contentsOf(
  adapter: Adapter,
  call: CallOptions,
): Promise<ReturnType<typeof packShared> & {base?: number[][]}> {
  const [values, base] = await Promise.all([readValues(adapter.tensors, call), savedBase(adapter)]);
  return {...packShared(adapter.config, values), ...(base && {base})};
}

/**
 * The adapter in the bytes that `encodeAdapter` made. Its values are taken as they are, NaN and infinity too.
 *
 * @throws LoRAError if the file is damaged or holds something else. Nothing in it is trusted.
 */
export async function decodeAdapter(bytes: Uint8Array): Promise<Adapter> {
  const {metadata, tensors} = await readSafetensors(bytes);
  const format = metadata.get('format');
  if (format !== FORMAT) {
    throw unsupportedError(
      format === 'pt'
        ? 'This safetensors file was saved by PyTorch. To load a PEFT adapter, pass its folder or both of its ' +
            'files, and the model that it belongs to: loadAdapter({config, weights}, {model}).'
        : `This safetensors file is not an adapter of this library: its format is ${show(format)}.`,
    );
  }
  if (metadata.get('version') !== VERSION) {
    throw unsupportedError(
      `The adapter is of format version ${show(metadata.get('version'))}; this library reads version ${VERSION}.`,
    );
  }
  const {config, parts} = withoutParts(jsonIn(metadata, 'config'));
  const base = metadata.has('base') ? jsonIn(metadata, 'base') : undefined;
  checkAdapterConfig(config);
  const values = new Map<string, Values>();
  const faults: string[] = [];
  for (const [name, {dtype, shape, data}] of tensors) {
    if (data === null) {
      faults.push(`${name}: of type ${dtype}, not F32, F16 or BF16`);
    } else {
      values.set(name, {shape, data});
    }
  }
  throwFaults(faults, 'ERR_DAMAGED', "The adapter's file is broken:");
  return withBase(makeAdapter(config, unpackShared(parts, asTensors(values))), base);
}

function jsonIn(metadata: ReadonlyMap<string, string>, name: string): unknown {
  const text = metadata.get(name) ?? '';
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw damagedError(`The ${name} in the adapter's file is not valid JSON: ${messageOf(error)}`, {cause: error});
  }
  const twice = duplicateKeys(text);
  if (twice.length > 0) {
    throw damagedError(`The ${name} in the adapter's file has ${show(twice[0])} twice.`);
  }
  return value;
}

/** Tensors of the given values, which an adapter may own. */
export function asTensors(values: Iterable<readonly [string, Values]>): Record<string, tf.Tensor> {
  return Object.fromEntries([...values].map(([name, {shape, data}]) => [name, tf.tensor(data, [...shape], 'float32')]));
}

/**
 * The numbers of tensors, by name.
 *
 * @throws LoRAError if one is not float32, or its values were lost with a graphics card.
 */
export async function readValues(tensors: Adapter['tensors'], call: CallOptions = {}): Promise<Record<string, Values>> {
  const step = stepsOf(call);
  const all = Object.entries(tensors);
  let done = 0;
  const report = () => step({done, total: all.length, what: 'reading tensors'});
  await report();
  const entries = await Promise.all(
    all.map(async ([name, tensor]) => {
      if (tensor.dtype !== 'float32') {
        throw misfitError(`${name}: of type ${tensor.dtype}, not float32.`);
      }
      const data = await tensor.data<'float32'>();
      done++;
      await report();
      return [name, {shape: tensor.shape.slice(), data}] as const;
    }),
  );
  return Object.fromEntries(entries);
}

/** @throws LoRAError if there is no such type. */
export function floatTypeOf(dtype: StoredType): FloatType {
  if (!Object.hasOwn(TYPES, dtype)) {
    throw new LoRAError(`dtype must be one of ${Object.keys(TYPES).map(show).join(', ')}, got ${show(dtype)}.`);
  }
  return TYPES[dtype];
}
