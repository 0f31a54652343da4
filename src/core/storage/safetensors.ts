import * as tf from '@tensorflow/tfjs';
import {type Adapter, makeAdapter} from '../adapter/adapter';
import {checkAdapter, checkAdapterConfig} from '../adapter/checkAdapter';
import {
  checkOptions,
  damagedError,
  LoRAError,
  misfitError,
  show,
  throwFaults,
  unsupportedError,
} from '../../platform/errors';
import {duplicateKeys} from '../../platform/formats/jsonText';
import type {Values} from '../../platform/formats/layout';
import type {FiniteOptions, FloatType} from '../../platform/formats/numbers';
import {type Bytes, decodeSafetensors, encodeSafetensors} from '../../platform/formats/safetensors';
import {checkLimits, type LoadOptions} from './limits';
import {packShared, unpackShared, withoutParts} from './sharedTensors';
import {bytesOf, type ByteSource} from './sources';

/** How the numbers of an adapter are stored. */
export type StoredType = 'float32' | 'float16' | 'bfloat16';

/** How an adapter is written. */
export interface SafetensorsOptions extends FiniteOptions {
  /**
   * Half the bytes at `'float16'` or `'bfloat16'`, whose numbers are rounded to 11 and to 8 significant bits. Default:
   * `'float32'`.
   */
  dtype?: StoredType;
}

const TYPES: Readonly<Record<StoredType, FloatType>> = {float32: 'F32', float16: 'F16', bfloat16: 'BF16'};
/** What files of adapters call their format. */
export const FORMAT = 'tfjs-lora-adapter';
const VERSION = '1';

/**
 * An adapter as the bytes of a safetensors file: its tensors under their names, and its config as text in the header.
 * The result is a promise since a backend may keep the numbers where they cannot be read at once, as webgpu does.
 *
 * @throws LoRAError if a number is not finite or too large for the type that is requested, or the adapter was disposed.
 */
export async function toSafetensors(adapter: Adapter, options: SafetensorsOptions = {}): Promise<Bytes> {
  checkOptions(options, {dtype: true, allowNonFinite: true});
  const {dtype = 'float32', ...finite} = options;
  checkAdapter(adapter);
  const type = floatTypeOf(dtype);
  const {config, values} = packShared(adapter.config, await readValues(adapter.tensors));
  const metadata = {format: FORMAT, version: VERSION, config: JSON.stringify(config)};
  return encodeSafetensors(values, {dtype: type, metadata, ...finite});
}

/**
 * The adapter in the bytes of a safetensors file that `toSafetensors` wrote. Apply it with `applyLoRA(base, adapter)`,
 * then dispose it. Its numbers are taken as they are, NaN and infinity too.
 *
 * @throws LoRAError if the file is damaged or holds something else. Nothing in it is trusted.
 */
export function fromSafetensors(bytes: Uint8Array): Adapter {
  const {metadata, tensors} = decodeSafetensors(bytes);
  const format = metadata.get('format');
  if (format !== FORMAT) {
    throw unsupportedError(
      format === 'pt'
        ? 'This safetensors file was saved by PyTorch. Import the adapter of PEFT with importPEFT({config, ' +
            'weights}, model).'
        : `This safetensors file is not an adapter of this library: its format is ${show(format)}.`,
    );
  }
  if (metadata.get('version') !== VERSION) {
    throw unsupportedError(
      `The adapter is of format version ${show(metadata.get('version'))}; this library reads version ${VERSION}.`,
    );
  }
  const {config, parts} = withoutParts(configOf(metadata.get('config')));
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
  return makeAdapter(config, unpackShared(parts, asTensors(values)));
}

/**
 * The adapter in a safetensors file, from wherever a browser has it.
 *
 *     await readAdapter(fetch('emoji.safetensors'))
 *     await readAdapter(input.files[0])
 *
 * @throws LoRAError if it is not a source, the response failed, it has more bytes than are allowed, or they are not an
 * adapter.
 */
export async function readAdapter(
  source: ByteSource | PromiseLike<ByteSource>,
  options: LoadOptions = {},
): Promise<Adapter> {
  checkLimits(options);
  return fromSafetensors(await bytesOf(source, options));
}

function configOf(text = ''): unknown {
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch (error) {
    throw damagedError(`The config in the adapter's file is not valid JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const twice = duplicateKeys(text);
  if (twice.length > 0) {
    throw damagedError(`The config in the adapter's file has ${show(twice[0])} twice.`);
  }
  return config;
}

/** Tensors of the given values, which an adapter may own. */
export function asTensors(values: Iterable<readonly [string, Values]>): Record<string, tf.Tensor> {
  return Object.fromEntries([...values].map(([name, {shape, data}]) => [name, tf.tensor(data, [...shape], 'float32')]));
}

/**
 * The numbers of tensors, by name.
 *
 * @throws LoRAError if one is of another type than float32, or its numbers are lost with a graphics card.
 */
export async function readValues(tensors: Adapter['tensors']): Promise<Record<string, Values>> {
  const entries = await Promise.all(
    Object.entries(tensors).map(async ([name, tensor]) => {
      if (tensor.dtype !== 'float32') {
        throw misfitError(`${name}: of type ${tensor.dtype}, not float32.`);
      }
      return [name, {shape: tensor.shape.slice(), data: await tensor.data<'float32'>()}] as const;
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
