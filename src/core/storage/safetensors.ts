import type {Adapter} from '../adapter/adapter';
import {checkAdapter} from '../adapter/checkAdapter';
import {savedBase} from '../adapter/base';
import {checkOptions, LoRAError, misfitError, show} from '../../platform/errors';
import type {Values} from '../../platform/formats/layout';
import type {FiniteOptions, FloatType} from '../../platform/formats/numbers';
import {type CallOptions, checkCallOptions, stepsOf} from '../../platform/signals';
import {type FileBytes, encodeSafetensors} from '../../platform/formats/encodeSafetensors';
import {packShared} from './sharedTensors';

/** How the numbers of an adapter are stored. */
export type StoredType = 'float32' | 'float16' | 'bfloat16';

/** How an adapter is written. */
export interface SafetensorsOptions extends FiniteOptions {
  /** Half the bytes at `'float16'` or `'bfloat16'`, with 11 or 8 significant bits. Default: `'float32'`. */
  dtype?: StoredType;
}

const TYPES: Readonly<Record<StoredType, FloatType>> = {float32: 'F32', float16: 'F16', bfloat16: 'BF16'};
export const FORMAT = 'tfjs-lora-adapter';
export const FORMAT_VERSION = '1';

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
    version: FORMAT_VERSION,
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
