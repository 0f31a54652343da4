import * as tf from '@tensorflow/tfjs';
import {type Adapter, makeAdapter} from '../adapter/adapter';
import {checkAdapterConfig} from '../adapter/checkAdapter';
import {withBase} from '../adapter/base';
import {damagedError, messageOf, show, throwFaults, unsupportedError} from '../../platform/errors';
import {readSafetensors} from '../../platform/formats/readSafetensors';
import {duplicateKeys} from '../../platform/formats/jsonText';
import type {Values} from '../../platform/formats/layout';
import {FORMAT, FORMAT_VERSION} from './safetensors';
import {CLASS_NAME, safetensorsOf, VERSION} from './storage';
import {unpackShared, withoutParts} from './unpackShared';
import {bytesOfSpecs, isSpec, joinedWeights} from './weightBytes';

/**
 * The adapter that a handler loaded, in either format.
 *
 * @throws LoRAError if it is something else, or damaged.
 */
export async function adapterIn(artifacts: tf.io.ModelArtifacts): Promise<Adapter> {
  const {modelTopology, weightSpecs, weightData} = artifacts;
  const {class_name: className, version, config: packed, base} = (modelTopology ?? {}) as Record<string, unknown>;
  if (className !== CLASS_NAME) {
    throw unsupportedError(
      `This is not an adapter but ${className === undefined ? 'something else' : `a ${show(className)}`}. Models ` +
        'are loaded with tf.loadLayersModel.',
    );
  }
  if (version !== VERSION) {
    throw unsupportedError(`The adapter is of format version ${show(version)}; this library reads version ${VERSION}.`);
  }
  const bytesOfFile = safetensorsOf(artifacts);
  if (bytesOfFile !== undefined) {
    return decodeAdapter(bytesOfFile);
  }
  const {config, parts} = withoutParts(packed);
  checkAdapterConfig(config);
  if (weightSpecs === undefined || weightData === undefined) {
    throw damagedError('The adapter has no tensors.');
  }
  // tfjs reads across the seams of bytes in several pieces wrongly.
  const {buffer} = joinedWeights(weightData);
  checkSpecs(weightSpecs, buffer.byteLength);
  return withBase(makeAdapter(config, unpackShared(parts, tf.io.decodeWeights(buffer, weightSpecs))), base);
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
  if (metadata.get('version') !== FORMAT_VERSION) {
    throw unsupportedError(
      `The adapter is of format version ${show(metadata.get('version'))}; this library reads version ${FORMAT_VERSION}.`,
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

/** Checks that the bytes are those that the list of tensors calls for, before anything is made of them. */
function checkSpecs(specs: unknown, present: number): void {
  if (!Array.isArray(specs)) {
    throw damagedError(`The adapter's file is broken: its list of tensors is ${show(specs)}.`);
  }
  const faults: string[] = [];
  const names = new Set<unknown>();
  for (const spec of specs as (Partial<tf.io.WeightsManifestEntry> | null)[]) {
    const {name, shape, dtype} = spec ?? {};
    if (typeof name !== 'string' || name === '__proto__') {
      faults.push(`a tensor cannot have the name ${show(name)}`);
    } else if (names.has(name)) {
      faults.push(`${name}: there twice`);
    }
    names.add(name);
    if (dtype !== 'float32') {
      faults.push(`${name}: of type ${dtype}, not float32`);
    } else if (spec !== null && 'quantization' in spec) {
      faults.push(
        `${name}: quantized, and adapters are not. For half the bytes, save as safetensors with dtype "float16"`,
      );
    } else if (!isSpec(spec)) {
      faults.push(`${name}: its shape is ${show(shape)}`);
    }
  }
  const bytes = faults.length === 0 ? bytesOfSpecs(specs as tf.io.WeightsManifestEntry[]) : present;
  if (bytes !== present) {
    faults.push(`the tensors take ${bytes} bytes, the file has ${present}`);
  }
  throwFaults(faults, 'ERR_DAMAGED', "The adapter's file is broken:");
}
