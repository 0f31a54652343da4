import {damagedError} from '../../platform/errors';
import {concatenate} from '../../platform/formats/byteReader';

// Messages as tables of their fields, in the wire format of protocol buffers,
// https://protobuf.dev/programming-guides/encoding. The one of ONNX files rounds integers of 64 bits; here they are ids.

/** The type of a field. A schema is a nested message. */
type Holds = keyof Scalars | Schema | (() => Schema);

interface Scalars {
  uint64: bigint;
  sint64: bigint;
  uint32: number;
  double: number;
  bool: boolean;
  string: string;
  bytes: Uint8Array;
}

/** A field: its number in the message, its type, and whether it is repeated. */
export type Field = readonly [id: number, holds: Holds, several?: 'several'];

export interface Schema {
  readonly [name: string]: Field;
}

type One<H> = H extends keyof Scalars ? Scalars[H] : H extends () => infer S ? MessageOf<S> : MessageOf<H>;

/** The message of a schema. Unset fields are missing; a list may be empty. */
export type MessageOf<S> = {
  -readonly [K in keyof S as S[K] extends readonly [number, unknown, 'several'] ? K : never]: S[K] extends readonly [
    number,
    infer H,
    'several',
  ]
    ? One<H>[]
    : never;
} & {
  -readonly [K in keyof S as S[K] extends readonly [number, unknown, 'several'] ? never : K]?: S[K] extends readonly [
    number,
    infer H,
  ]
    ? One<H>
    : never;
};

/** The maximum nesting of messages that are read: an untrusted message may nest endlessly. */
const DEEPEST = 20;

/** Encodes a message. */
export function encode<const S extends Schema>(schema: S, message: MessageOf<S>): Uint8Array {
  return encoded(schema, message);
}

/** Decodes a message. @throws LoRAError if the bytes are not one. */
export function decode<const S extends Schema>(schema: S, bytes: Uint8Array): MessageOf<S> {
  return read(new Reader(bytes), bytes.length, schema, 0) as MessageOf<S>;
}

function encoded(schema: Schema, message: Record<string, unknown>): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [name, [id, holds, several]] of Object.entries(schema)) {
    const values = several ? (message[name] as unknown[]) : message[name] === undefined ? [] : [message[name]];
    for (const value of values) {
      const [type, content] =
        typeof holds === 'string'
          ? [WIRE_TYPES[holds], WRITE[holds](value as never)]
          : [2, encoded(typeof holds === 'function' ? holds() : holds, value as Record<string, unknown>)];
      parts.push(varint(BigInt(id * 8 + type)), ...(type === 2 ? [varint(BigInt(content.length))] : []), content);
    }
  }
  return concatenate(parts);
}

function read(reader: Reader, end: number, schema: Schema, depth: number): Record<string, unknown> {
  if (depth > DEEPEST) {
    throw notAMessage('Messages are nested too deeply.');
  }
  const message: Record<string, unknown> = {};
  const byId = new Map<number, [name: string, holds: Holds, several: boolean]>();
  for (const [name, [id, holds, several]] of Object.entries(schema)) {
    byId.set(id, [name, holds, several !== undefined]);
    if (several) {
      message[name] = [];
    }
  }
  while (reader.pos < end) {
    const tag = reader.uint32();
    const field = byId.get(tag >>> 3);
    const wireType = tag & 7;
    if (field === undefined) {
      reader.skip(wireType);
      continue;
    }
    const [name, holds, several] = field;
    const add = (value: unknown) => {
      if (several) {
        (message[name] as unknown[]).push(value);
      } else {
        message[name] = value;
      }
    };
    if (typeof holds !== 'string') {
      const length = reader.uint32();
      add(read(reader, reader.pos + length, typeof holds === 'function' ? holds() : holds, depth + 1));
    } else if (wireType === 2 && WIRE_TYPES[holds] !== 2) {
      // Lists of numbers are packed into one field.
      const stop = reader.uint32() + reader.pos;
      while (reader.pos < stop) {
        add(READ[holds](reader));
      }
    } else {
      add(READ[holds](reader));
    }
  }
  if (reader.pos > end) {
    throw notAMessage('A message ends inside a field.');
  }
  return message;
}

const WIRE_TYPES: Readonly<Record<keyof Scalars, number>> = {
  uint64: 0,
  sint64: 0,
  uint32: 0,
  double: 1,
  bool: 0,
  string: 2,
  bytes: 2,
};

const WRITE: {readonly [K in keyof Scalars]: (value: Scalars[K]) => Uint8Array} = {
  uint64: varint,
  sint64: value => varint(BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))),
  uint32: value => varint(BigInt(value)),
  double: value => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setFloat64(0, value, true);
    return bytes;
  },
  bool: value => Uint8Array.of(Number(value)),
  string: value => new TextEncoder().encode(value),
  bytes: value => value,
};

const READ: {readonly [K in keyof Scalars]: (reader: Reader) => Scalars[K]} = {
  uint64: reader => reader.varint(),
  sint64: reader => {
    const value = reader.varint();
    return (value >> 1n) ^ -(value & 1n);
  },
  uint32: reader => reader.uint32(),
  double: reader => {
    const {buffer, byteOffset} = reader.take(8);
    return new DataView(buffer, byteOffset).getFloat64(0, true);
  },
  bool: reader => reader.varint() !== 0n,
  string: reader => new TextDecoder('utf-8', {ignoreBOM: true}).decode(reader.take(reader.uint32())),
  bytes: reader => reader.take(reader.uint32()),
};

/** Seven bits in each byte, the lowest first; all bytes but the last have the highest bit. */
function varint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let left = value;
  for (; left > 0x7fn; left >>= 7n) {
    bytes.push(Number(left & 0x7fn) | 0x80);
  }
  return Uint8Array.of(...bytes, Number(left));
}

/** Reads bytes from an untrusted message, as views of it. */
class Reader {
  pos = 0;

  constructor(private readonly bytes: Uint8Array) {}

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.bytes[this.pos++];
      if (byte === undefined) {
        throw notAMessage('A number ends too early.');
      }
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        return BigInt.asUintN(64, value);
      }
    }
    throw notAMessage('A number has more than 64 bits.');
  }

  /** The lowest 32 bits of a number. */
  uint32(): number {
    return Number(BigInt.asUintN(32, this.varint()));
  }

  take(count: number): Uint8Array {
    const left = this.bytes.length - this.pos;
    if (count > left) {
      throw notAMessage(`${count} bytes should follow where ${left} are left.`);
    }
    this.pos += count;
    return this.bytes.subarray(this.pos - count, this.pos);
  }

  /** Skips a field of a wire type. */
  skip(type: number): void {
    switch (type) {
      case 0:
        this.varint();
        break;
      case 1:
        this.take(8);
        break;
      case 2:
        this.take(this.uint32());
        break;
      case 5:
        this.take(4);
        break;
      default:
        throw notAMessage(`A field has the wire type ${type}.`);
    }
  }
}

function notAMessage(why: string): Error {
  return damagedError(`The bytes are not a protobuf message. ${why}`);
}
