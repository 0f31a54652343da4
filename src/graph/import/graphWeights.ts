import {BYTES} from '../../formats/dtypes';
import {toFloat16} from '../../formats/halfFloats';

// The weights of a graph in a file: a list of tensors, and their bytes one after the other.

/** A tensor in the list. */
export interface WeightEntry {
  name: string;
  shape: number[];
  dtype: string;
  quantization?: {dtype: string; scale?: number; min?: number; original_dtype?: string};
}

/** A tensor and its bytes. */
export interface WeightPart {
  entry: WeightEntry;
  bytes: Uint8Array;
}

/**
 * The tensors of a list, each with its bytes.
 *
 * @returns `undefined` where the bytes are not those that the list calls for.
 */
export function splitWeights(entries: readonly WeightEntry[], bytes: Uint8Array): Map<string, WeightPart> | undefined {
  const parts = new Map<string, WeightPart>();
  let at = 0;
  for (const entry of entries) {
    const count = entry.shape.reduce((total, size) => total * size, 1);
    const length =
      entry.dtype === 'string'
        ? textBytes(bytes, at, count)
        : count * (BYTES[entry.quantization?.dtype ?? entry.dtype] ?? Number.NaN);
    if (!(at + length <= bytes.length)) {
      return undefined;
    }
    parts.set(entry.name, {entry, bytes: bytes.subarray(at, at + length)});
    at += length;
  }
  return at === bytes.length ? parts : undefined;
}

/** The bytes of so many texts, each after its length. */
function textBytes(bytes: Uint8Array, start: number, count: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = start;
  for (let i = 0; i < count; i++) {
    if (at + 4 > bytes.length) {
      return Number.NaN;
    }
    at += 4 + view.getUint32(at, true);
  }
  return at - start;
}

/** The list and the bytes of tensors. */
export function joinWeights(parts: Iterable<WeightPart>): {entries: WeightEntry[]; bytes: ArrayBuffer} {
  const list = [...parts];
  const bytes = new Uint8Array(list.reduce((total, part) => total + part.bytes.length, 0));
  let at = 0;
  for (const part of list) {
    bytes.set(part.bytes, at);
    at += part.bytes.length;
  }
  return {entries: list.map(({entry}) => entry), bytes: bytes.buffer};
}

/**
 * A tensor as it stands in a file.
 *
 * @param half store floats in 16 bits.
 */
export function encodeWeight(
  entry: Pick<WeightEntry, 'name' | 'shape' | 'dtype'>,
  values: Float32Array | Int32Array | Uint8Array,
  half: boolean,
): WeightPart {
  const {name, shape, dtype} = entry;
  if (half && dtype === 'float32') {
    const bits = new Uint32Array(Float32Array.from(values).buffer);
    const halves = Uint16Array.from(bits, toFloat16);
    const quantization = {dtype: 'float16', original_dtype: 'float32'};
    return {entry: {name, shape, dtype, quantization}, bytes: new Uint8Array(halves.buffer)};
  }
  const copy = values.slice();
  return {entry: {name, shape, dtype}, bytes: new Uint8Array(copy.buffer, copy.byteOffset, copy.byteLength)};
}
