import type {Values} from '../../../platform/formats/layout';
import {concatenate} from '../../../platform/formats/byteReader';
import {checkNumbers, type FiniteOptions, type FloatType, writeNumbers} from '../../../platform/formats/numbers';
import type {FileBytes} from '../../../platform/formats/encodeSafetensors';

/** A metadata value: a text, a 32-bit integer, or a float. */
export type WrittenValue = string | {uint32: number} | {float32: number};

/** The type ids in files, and the bytes of a value. */
const TYPES: Readonly<Record<FloatType, [type: number, bytes: number]>> = {F32: [0, 4], F16: [1, 2], BF16: [30, 2]};
const ALIGNMENT = 32;

/**
 * Writes a GGUF file. Values are rounded to the nearest of `dtype`, ties to even.
 *
 * @throws LoRAError if a value would not be finite.
 */
export function writeGGUF(
  pairs: Readonly<Record<string, WrittenValue>>,
  tensors: Readonly<Record<string, Values>>,
  {dtype, ...finite}: {dtype: FloatType} & FiniteOptions,
): FileBytes {
  const [type, width] = TYPES[dtype];
  const parts: Uint8Array[] = [];
  const encoder = new TextEncoder();
  const word = (value: number) => parts.push(littleEndian(4, view => view.setUint32(0, value, true)));
  const uint64 = (value: number) => parts.push(littleEndian(8, view => view.setBigUint64(0, BigInt(value), true)));
  const text = (value: string) => {
    const bytes = encoder.encode(value);
    uint64(bytes.length);
    parts.push(bytes);
  };
  parts.push(encoder.encode('GGUF'));
  word(3);
  uint64(Object.keys(tensors).length);
  uint64(Object.keys(pairs).length);
  for (const [name, value] of Object.entries(pairs)) {
    text(name);
    if (typeof value === 'string') {
      word(8);
      text(value);
    } else if ('uint32' in value) {
      word(4);
      word(value.uint32);
    } else {
      word(6);
      parts.push(littleEndian(4, view => view.setFloat32(0, value.float32, true)));
    }
  }
  let end = 0;
  const offsets: number[] = [];
  for (const [name, {shape, data}] of Object.entries(tensors)) {
    text(name);
    word(shape.length);
    [...shape].reverse().forEach(uint64);
    word(type);
    uint64(end);
    offsets.push(end);
    end = aligned(end + width * data.length);
  }
  const header = concatenate(parts);
  const start = aligned(header.length);
  const bytes = new Uint8Array(start + end);
  bytes.set(header);
  const view = new DataView(bytes.buffer);
  const written = Object.entries(tensors).filter(
    ([, {data}], i) => !writeNumbers(view, start + (offsets[i] ?? 0), data, dtype),
  );
  checkNumbers(written, dtype, finite);
  return bytes;
}

function aligned(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}

function littleEndian(length: number, write: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(length);
  write(new DataView(bytes.buffer));
  return bytes;
}
