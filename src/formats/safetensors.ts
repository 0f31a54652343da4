import {LoRAError, show} from '../errors';
import {toBfloat16, toFloat16} from './halfFloats';
import {broken, headerLength, isReserved, METADATA, parseHeader, readNumbers, SIZES} from './safetensorsHeader';

// Eight bytes: the length N of the header, little-endian. N bytes of JSON, padded with spaces:
// {"__metadata__": {text: text}, name: {"dtype", "shape", "data_offsets": [begin, end]}}. Then the tensors' bytes,
// little-endian, row by row, without gaps. https://github.com/huggingface/safetensors#format

/** The types of numbers that this library reads and writes. */
export type FloatType = 'F32' | 'F16' | 'BF16';

/** A tensor as it is written. */
export interface NamedValues {
  shape: readonly number[];
  /** Integers of 64 bits are written as they are. */
  data: Float32Array | BigInt64Array;
}

/** A tensor as it is read. */
export interface StoredTensor {
  /** The type that the file gives: `F32`, `F16`, `BF16`, `I64`, … */
  dtype: string;
  shape: number[];
  /** The values; `null` for types other than `F32`, `F16` and `BF16`. */
  data: Float32Array | null;
}

/** What a safetensors file holds. */
export interface Safetensors {
  metadata: Map<string, string>;
  tensors: Map<string, StoredTensor>;
}

/**
 * Bytes with a buffer of their own, as `Blob` and `fetch` take them: `Uint8Array<ArrayBuffer>`, in a form that
 * TypeScript before 5.7 reads too. There `Uint8Array` takes no type argument.
 */
export type Bytes = ReturnType<typeof Uint8Array.of>;

/**
 * Writes a safetensors file. Numbers are rounded to the nearest that `dtype` has, ties to even.
 *
 * @param metadata texts that travel in the header.
 * @throws LoRAError if a name is reserved or a shape does not fit its data.
 */
export function encodeSafetensors(
  tensors: Readonly<Record<string, NamedValues>>,
  {dtype = 'F32', metadata = {}}: {dtype?: FloatType; metadata?: Readonly<Record<string, string>>} = {},
): Bytes {
  const typeOf = ({data}: NamedValues) => (data instanceof BigInt64Array ? 'I64' : dtype);
  const sizeOf = (values: NamedValues) => SIZES[typeOf(values)] ?? 4;
  // The widest first, so that each tensor lies at a multiple of its size.
  const entries = Object.entries(tensors).sort(
    ([one, first], [two, second]) => sizeOf(second) - sizeOf(first) || (one < two ? -1 : 1),
  );
  const header: [string, unknown][] = Object.keys(metadata).length > 0 ? [[METADATA, metadata]] : [];
  let end = 0;
  for (const [name, values] of entries) {
    const {shape, data} = values;
    if (isReserved(name) || shape.reduce((product, size) => product * size, 1) !== data.length) {
      throw new LoRAError(
        `A tensor cannot be written: ${show(name)}, of shape ${show(shape)}, with ${data.length} numbers.`,
      );
    }
    const begin = end;
    end += data.length * sizeOf(values);
    header.push([name, {dtype: typeOf(values), shape, data_offsets: [begin, end]}]);
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const start = 8 + 8 * Math.ceil(json.length / 8);
  const bytes = new Uint8Array(start + end).fill(0x20, 8, start);
  bytes.set(json, 8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, start - 8, true); // of the 64 bits the upper half stays 0
  let offset = start;
  for (const [, values] of entries) {
    writeNumbers(view, offset, values.data, dtype);
    offset += values.data.length * sizeOf(values);
  }
  return bytes;
}

function writeNumbers(view: DataView, offset: number, data: NamedValues['data'], dtype: FloatType): void {
  if (data instanceof BigInt64Array) {
    data.forEach((value, i) => view.setBigInt64(offset + 8 * i, value, true));
    return;
  }
  const bits = new Uint32Array(data.buffer, data.byteOffset, data.length);
  if (dtype === 'F32') {
    bits.forEach((value, i) => view.setUint32(offset + 4 * i, value, true));
  } else {
    const round = dtype === 'F16' ? toFloat16 : toBfloat16;
    bits.forEach((value, i) => view.setUint16(offset + 2 * i, round(value), true));
  }
}

/**
 * Reads a safetensors file, and trusts nothing that it says: each claim is checked against the bytes that are there
 * before anything is made of them. The tensors' numbers are copies, 4 bytes for each in the file.
 *
 * @throws LoRAError if the file is damaged or not of this format, with a line for each fault.
 */
export function decodeSafetensors(bytes: Uint8Array): Safetensors {
  if (!((bytes as unknown) instanceof Uint8Array)) {
    throw new LoRAError(`Expected the bytes of a safetensors file, a Uint8Array, got ${typeof bytes}.`);
  }
  if (bytes.length < 8) {
    throw broken([`it has ${bytes.length} bytes, and a header takes more`]);
  }
  const start = 8 + headerLength(bytes, bytes.length);
  const {metadata, entries} = parseHeader(bytes.subarray(8, start), bytes.length - start);
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, bytes.length - start);
  const tensors = new Map(
    entries.map(([name, {dtype, shape, begin, end}]) => [
      name,
      {dtype, shape, data: readNumbers(view, dtype, begin, end)},
    ]),
  );
  return {metadata, tensors};
}
