import {concatenate} from '../../../platform/formats/byteReader';
import {damagedError, type LoRAError} from '../../../platform/errors';

// The wire format of protocol buffers, https://protobuf.dev/programming-guides/encoding. This reader returns views,
// allocates nothing because a file says so, and reports where a field is, which splicing needs.

/** An integer, or the bytes of anything else. Integers of 64 bits are rounded beyond 2^53. */
export type FieldValue = number | Uint8Array;

/** A field of a message. Its tag is at `start`, and the next field at `end`. */
export interface Field {
  number: number;
  value: FieldValue;
  start: number;
  end: number;
}

/** The error for a file that is cut off or is no ONNX file. */
export function damaged(what: string): LoRAError {
  return damagedError(`The ONNX file is damaged: ${what}.`);
}

/** Goes through the fields of a message, in order. Values are views of it. */
export function* fieldsOf(message: Uint8Array): Generator<Field, void> {
  const cursor = new Cursor(message);
  while (!cursor.isAtEnd) {
    const start = cursor.at;
    const tag = cursor.integer();
    const number = Math.floor(tag / 8);
    if (number < 1) {
      throw damaged(`a field has the number ${number}`);
    }
    const value = cursor.value(tag % 8);
    yield {number, value, start, end: cursor.at};
  }
}

/** Passes each field of a message to the reader of its number, in order. Others are skipped. */
export function readFields(message: Uint8Array, readers: Readonly<Record<number, (field: Field) => unknown>>): void {
  for (const field of fieldsOf(message)) {
    readers[field.number]?.(field);
  }
}

/** The bytes of a field. */
export function bytesIn({number, value}: Field): Uint8Array {
  if (typeof value === 'number') {
    throw damaged(`field ${number} should be bytes, and is an integer`);
  }
  return value;
}

export function textIn(field: Field): string {
  return new TextDecoder().decode(bytesIn(field));
}

/** The integer of a field. */
export function integerIn({number, value}: Field): number {
  if (typeof value !== 'number') {
    throw damaged(`field ${number} should be an integer`);
  }
  return value;
}

/** Adds the integers of a field, one or several that are packed, to a list. */
export function addIntegers({value}: Field, list: number[]): void {
  if (typeof value === 'number') {
    list.push(value);
    return;
  }
  for (const cursor = new Cursor(value); !cursor.isAtEnd;) {
    list.push(cursor.integer());
  }
}

/** Adds the floating-point values of a field, one or several that are packed, to a list. */
export function addFloats(field: Field, list: number[], size: 4 | 8 = 4): void {
  const bytes = bytesIn(field);
  if (bytes.length % size !== 0) {
    throw damaged(`${bytes.length} bytes hold no whole number of values of ${size} bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at < bytes.length; at += size) {
    list.push(size === 4 ? view.getFloat32(at, true) : view.getFloat64(at, true));
  }
}

class Cursor {
  at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  get isAtEnd(): boolean {
    return this.at >= this.bytes.length;
  }

  /** A signed integer of 64 bits: seven bits a byte, the lowest first; all bytes but the last have the highest bit. */
  integer(): number {
    let [low, high] = [0, 0];
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.bytes[this.at++];
      if (byte === undefined) {
        throw damaged('it ends within an integer');
      }
      const bits = byte & 127;
      if (shift < 32) {
        low |= bits << shift;
      }
      if (shift > 24) {
        high |= shift < 32 ? bits >> (32 - shift) : bits << (shift - 32);
      }
      if (byte < 128) {
        return (low >>> 0) + high * 2 ** 32;
      }
    }
    throw damaged('an integer has more than ten bytes');
  }

  value(type: number): FieldValue {
    switch (type) {
      case 0:
        return this.integer();
      case 1:
        return this.take(8);
      case 2:
        return this.take(this.integer());
      case 5:
        return this.take(4);
      default:
        throw damaged(`no field has the wire type ${type}`);
    }
  }

  private take(count: number): Uint8Array {
    const left = this.bytes.length - this.at;
    if (!(count >= 0 && count <= left)) {
      throw damaged(`${count} bytes should follow where ${left} are left`);
    }
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
}

/** Bytes of a message, or what reads them once they are written: two copies of a large tensor are never held. */
export type Part = Uint8Array | {readonly length: number; read(): Promise<Uint8Array>};

/** The bytes of a message. */
export async function joined(parts: readonly Part[]): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(parts.reduce((sum, {length}) => sum + length, 0));
  let at = 0;
  for (const piece of parts) {
    bytes.set(piece instanceof Uint8Array ? piece : await piece.read(), at);
    at += piece.length;
  }
  return bytes;
}

/** A field as it is written: its tag, and bytes with their length or a whole number. */
export function field(number: number, value: number | string | Uint8Array | readonly Uint8Array[]): Uint8Array {
  if (typeof value === 'number') {
    return Uint8Array.from([...varint(number * 8), ...varint(value)]);
  }
  const parts = typeof value === 'string' ? [new TextEncoder().encode(value)] : [value].flat();
  return concatenate([fieldHeader(number, parts), ...parts]);
}

/** The header of a field. With it, a large message need not be copied into the one around it. */
export function fieldHeader(number: number, parts: readonly {length: number}[]): Uint8Array {
  const length = parts.reduce((sum, piece) => sum + piece.length, 0);
  return Uint8Array.from([...varint(number * 8 + 2), ...varint(length)]);
}

/** A field of a number of 32 bits with a fraction. */
export function floatField(number: number, value: number): Uint8Array {
  return Uint8Array.from([...varint(number * 8 + 5), ...new Uint8Array(Float32Array.of(value).buffer)]);
}

/** Negative numbers have 64 bits. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  if (value < 0) {
    for (let left = BigInt.asUintN(64, BigInt(value)); left > 0n; left >>= 7n) {
      bytes.push(Number(left & 127n) + (left > 127n ? 128 : 0));
    }
    return bytes;
  }
  let left = value;
  for (; left >= 128; left = Math.floor(left / 128)) {
    bytes.push((left % 128) + 128);
  }
  return [...bytes, left];
}
