import protobuf from 'protobufjs/minimal.js';
import {damagedError} from '../../platform/errors';

// Messages as tables of their fields, with protobufjs's writer and reader. Its message classes would need generated
// code, or `eval`, which a content security policy may forbid.

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

/** The fields of a message, by name. */
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
  const writer = protobuf.Writer.create();
  write(writer, schema, message);
  return writer.finish();
}

/** Decodes a message. @throws LoRAError if the bytes are not one. */
export function decode<const S extends Schema>(schema: S, bytes: Uint8Array): MessageOf<S> {
  try {
    return read(protobuf.Reader.create(bytes), bytes.length, schema, 0) as MessageOf<S>;
  } catch (error) {
    throw damagedError('The bytes are not a protobuf message.', {cause: error});
  }
}

function write(writer: protobuf.Writer, schema: Schema, message: Record<string, unknown>): void {
  for (const [name, [id, holds, several]] of Object.entries(schema)) {
    const values = several ? (message[name] as unknown[]) : message[name] === undefined ? [] : [message[name]];
    for (const value of values) {
      if (typeof holds === 'string') {
        writer.uint32((id << 3) | WIRE_TYPES[holds]);
        WRITE[holds](writer, value as never);
      } else {
        writer.uint32((id << 3) | 2).fork();
        write(writer, typeof holds === 'function' ? holds() : holds, value as Record<string, unknown>);
        writer.ldelim();
      }
    }
  }
}

function read(reader: protobuf.Reader, end: number, schema: Schema, depth: number): Record<string, unknown> {
  if (depth > DEEPEST) {
    throw damagedError('Messages are nested too deeply.');
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
    const known = byId.get(tag >>> 3);
    const wireType = tag & 7;
    if (known === undefined) {
      reader.skipType(wireType);
      continue;
    }
    const [name, holds, several] = known;
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
    throw damagedError('A message ends inside a field.');
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

const WRITE: {readonly [K in keyof Scalars]: (writer: protobuf.Writer, value: Scalars[K]) => unknown} = {
  uint64: writeVarint,
  sint64: (writer, value) => writeVarint(writer, BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))),
  uint32: (writer, value) => writer.uint32(value),
  double: (writer, value) => writer.double(value),
  bool: (writer, value) => writer.bool(value),
  string: (writer, value) => writer.string(value),
  bytes: (writer, value) => writer.bytes(value),
};

const READ: {readonly [K in keyof Scalars]: (reader: protobuf.Reader) => Scalars[K]} = {
  uint64: readVarint,
  sint64: reader => {
    const value = readVarint(reader);
    return (value >> 1n) ^ -(value & 1n);
  },
  uint32: reader => reader.uint32(),
  double: reader => reader.double(),
  bool: reader => reader.bool(),
  string: reader => reader.string(),
  bytes: reader => reader.bytes(),
};

// protobufjs reads 64 bits as an object of another package, or as a rounded number.

function writeVarint(writer: protobuf.Writer, value: bigint): void {
  const [low, high] = [Number(value & 0xffffffffn), Number(value >> 32n)];
  writer.uint64({low, high, unsigned: true});
}

function readVarint(reader: protobuf.Reader): bigint {
  let value = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = reader.buf[reader.pos++];
    if (byte === undefined) {
      throw damagedError('A number ends too early.');
    }
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) {
      return BigInt.asUintN(64, value);
    }
  }
  throw damagedError('A number has more than 64 bits.');
}
