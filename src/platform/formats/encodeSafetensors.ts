import {LoRAError, show} from '../errors';
import {checkNumbers, type FiniteOptions, type FloatType, writeNumbers} from './numbers';

// Eight bytes: the length N of the header, little-endian. N bytes of JSON, padded with spaces:
// {"__metadata__": {text: text}, name: {"dtype", "shape", "data_offsets": [begin, end]}}. Then the tensors' bytes,
// little-endian, row by row, without gaps. https://github.com/huggingface/safetensors#format

/** A tensor to write. */
export interface NamedValues {
  shape: readonly number[];
  /** 64-bit integers are written unchanged. */
  data: Float32Array | BigInt64Array;
}

/**
 * Bytes with their own buffer, as `Blob` and `fetch` take them: `Uint8Array<ArrayBuffer>`, in a form that TypeScript
 * before 5.7 also reads. There `Uint8Array` takes no type argument.
 */
export type FileBytes = ReturnType<typeof Uint8Array.of>;

/** Bytes per value, by type. */
export const SIZES: Readonly<Record<string, number>> = {
  ...{BOOL: 1, U8: 1, I8: 1, F8_E4M3: 1, F8_E5M2: 1, F8_E8M0: 1, U16: 2, I16: 2, F16: 2, BF16: 2},
  ...{U32: 4, I32: 4, F32: 4, U64: 8, I64: 8, F64: 8, C64: 8},
};
/** The header's key for texts. */
export const METADATA = '__metadata__';

/** Whether no tensor can have a name. */
export function isReserved(name: string): boolean {
  return name === METADATA || name === '__proto__';
}

/**
 * Writes a safetensors file. Numbers are rounded to the nearest that `dtype` has, ties to even.
 *
 * @param metadata texts for the header.
 * @throws LoRAError if a name is reserved, a shape does not fit its data, or a number would not be finite.
 */
export function encodeSafetensors(
  tensors: Readonly<Record<string, NamedValues>>,
  {
    dtype = 'F32',
    metadata = {},
    ...finite
  }: {dtype?: FloatType; metadata?: Readonly<Record<string, string>>} & FiniteOptions = {},
): FileBytes {
  const typeOf = ({data}: NamedValues) => (data instanceof BigInt64Array ? 'I64' : dtype);
  const sizeOf = (values: NamedValues) => SIZES[typeOf(values)] as number;
  // The widest first, so that each tensor begins at a multiple of its size.
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
  const written = entries.filter(([, values]) => {
    const isFinite = writeNumbers(view, offset, values.data, dtype);
    offset += values.data.length * sizeOf(values);
    return !isFinite;
  });
  checkNumbers(written, dtype, finite);
  return bytes;
}
