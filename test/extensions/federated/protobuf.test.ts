import fc from 'fast-check';
import {decode, encode} from '../../../src/extensions/federated/protobuf';
import {LoRAError} from '../../../src/index';
import {objectOf, typeOf} from './superLink';

const METADATA = {
  runId: [1, 'uint64'],
  messageId: [2, 'string'],
  ttl: [7, 'double'],
} as const;
const ERROR = {code: [1, 'sint64'], reason: [2, 'string']} as const;
const MESSAGE = {metadata: [1, METADATA], error: [3, ERROR]} as const;
const SINTS = {vals: [1, 'sint64', 'several']} as const;
const uint64 = fc.bigInt({min: 0n, max: 2n ** 64n - 1n});
const int64 = fc.bigInt({min: -(2n ** 63n), max: 2n ** 63n - 1n});

test('messages are the bytes that protobufjs writes by the descriptors of Flower', () => {
  fc.assert(
    fc.property(uint64, fc.string(), fc.double({noNaN: true}), int64, (runId, messageId, ttl, code) => {
      const bytes = encode(MESSAGE, {metadata: {runId, messageId, ttl}, error: {code, reason: messageId}});
      const read = objectOf('Message', bytes) as {metadata: Record<string, unknown>; error: Record<string, unknown>};
      expect(read.metadata).toMatchObject({run_id: String(runId), message_id: messageId, ttl});
      expect(read.error).toEqual({code: String(code), reason: messageId});
    }),
  );
});

test('what is written is read again, unset fields and lists too', () => {
  fc.assert(
    fc.property(fc.array(int64), uint64, (vals, runId) => {
      expect(decode(SINTS, encode(SINTS, {vals}))).toEqual({vals});
      expect(decode(MESSAGE, encode(MESSAGE, {metadata: {runId}}))).toEqual({metadata: {runId}});
    }),
  );
  expect(decode(MESSAGE, new Uint8Array(0))).toEqual({});
});

test('lists of numbers are read packed into one field, as Python writes them', () => {
  const type = typeOf('SintList');
  const bytes = type.encode(type.fromObject({vals: [1, -2, 3]})).finish();
  expect(bytes).toHaveLength(5); // one field of three bytes
  expect(decode(SINTS, bytes)).toEqual({vals: [1n, -2n, 3n]});
});

test('fields that a later version may add are passed over', () => {
  const type = typeOf('Message');
  const metadata = {run_id: 5, message_id: 'm', group_id: 'g', created_at: 2};
  expect(decode(MESSAGE, type.encode(type.fromObject({metadata})).finish())).toMatchObject({
    metadata: {runId: 5n, messageId: 'm'},
  });
});

test('any bytes are a message or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({maxLength: 60}), bytes => {
      try {
        decode(MESSAGE, bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(LoRAError);
      }
    }),
    {numRuns: 2000},
  );
});

test.each([
  ['a message that ends inside of a field', [0x0a, 0x05, 0x08]],
  ['a field that reaches beyond its message', [0x0a, 0x01, 0x12, 0x7f, 0x61]],
  ['a number of more than 64 bits', [0x0a, 0x0b, 0x08, ...Array<number>(10).fill(0xff)]],
])('%s is refused', (_, bytes) => {
  expect(() => decode(MESSAGE, Uint8Array.from(bytes))).toThrow(LoRAError);
});

test('a message inside of itself is refused when it is too deep', () => {
  interface Tree {
    readonly children: readonly [2, () => Tree, 'several'];
    readonly [name: string]: readonly [2, () => Tree, 'several'];
  }
  const TREE: Tree = {children: [2, () => TREE, 'several']};
  let bytes: number[] = [];
  for (let depth = 0; depth < 40; depth++) {
    bytes = [0x12, bytes.length, ...bytes];
  }
  expect(() => decode(TREE, Uint8Array.from(bytes))).toThrow(LoRAError);
});
