import type * as tf from '@tensorflow/tfjs';
import {concatenate} from '../../../platform/formats/byteReader';
import type {FloatType} from '../../../platform/formats/numbers';
import {toFloat16} from '../../../platform/formats/halfFloats';
import {measureSpecs} from '../../../core/storage/weightBytes';

// The weights of a graph in a file: a list of tensors, and their concatenated bytes.

type WeightEntry = tf.io.WeightsManifestEntry;

export interface WeightPart {
  entry: WeightEntry;
  bytes: Uint8Array;
}

/**
 * Returns the tensors of a list, each with its bytes.
 *
 * @returns `undefined` if the bytes do not match the list.
 */
export function splitWeights(entries: readonly WeightEntry[], bytes: Uint8Array): Map<string, WeightPart> | undefined {
  const parts = new Map<string, WeightPart>();
  let at = 0;
  for (const entry of entries) {
    const end = at + measureSpecs([entry], bytes.subarray(at));
    if (end > bytes.length) {
      return undefined;
    }
    parts.set(entry.name, {entry, bytes: bytes.subarray(at, end)});
    at = end;
  }
  return at === bytes.length ? parts : undefined;
}

/** Concatenates tensors. Returns the list and the bytes. */
export function joinWeights(parts: Iterable<WeightPart>): {entries: WeightEntry[]; bytes: ArrayBuffer} {
  const list = [...parts];
  return {entries: list.map(({entry}) => entry), bytes: concatenate(list.map(({bytes}) => bytes)).buffer};
}

/**
 * Encodes a tensor for a file.
 *
 * @param type the type in which floats are stored.
 */
export function encodeWeight(
  {name, shape, dtype}: {name: string; shape: number[]; dtype: string},
  values: Float32Array | Int32Array | Uint8Array,
  type: FloatType,
): WeightPart {
  const entry = {name, shape, dtype: dtype as WeightEntry['dtype']};
  if (type === 'F16' && dtype === 'float32') {
    const bits = new Uint32Array(Float32Array.from(values).buffer);
    const halves = Uint16Array.from(bits, toFloat16);
    const quantization = {dtype: 'float16', original_dtype: 'float32'} as const;
    return {entry: {...entry, quantization}, bytes: new Uint8Array(halves.buffer)};
  }
  const copy = values.slice();
  return {entry, bytes: new Uint8Array(copy.buffer, copy.byteOffset, copy.byteLength)};
}
