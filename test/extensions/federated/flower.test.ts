import {createPublicKey, verify} from 'node:crypto';
import fc from 'fast-check';
import {publicKeyPEM, sign} from '../../../src/extensions/federated/nodeKey';
import {fromNPY, toNPY} from '../../../src/extensions/federated/npy';
import {decode, encode} from '../../../src/extensions/federated/protobuf';
import {createNodeKey, nodeKeyText, storedNodeKey} from '../../../src/federated';
import {LoRAError} from '../../../src/index';
import {objectOf, typeOf} from './superLink';

test('signatures are those that OpenSSL takes, whatever zeros their numbers begin with', async () => {
  const key = await createNodeKey();
  const open = createPublicKey(await publicKeyPEM(key));
  expect(open.asymmetricKeyDetails?.namedCurve).toBe('secp384r1');
  // One of 128 has a number whose first byte is zero, every second one that needs a zero before it.
  for (let i = 0; i < 400; i++) {
    const text = `2026-01-01T00:00:00.${i}+00:00`;
    expect(verify('sha256', Buffer.from(text), open, await sign(key, text))).toBe(true);
  }
});

test('a key that was serialized is the same', async () => {
  const key = await createNodeKey();
  const again = await createNodeKey(await nodeKeyText(key, 'private'));
  expect(await nodeKeyText(again, 'public')).toBe(await nodeKeyText(key, 'public'));
  const open = createPublicKey(await publicKeyPEM(key));
  expect(verify('sha256', Buffer.from('text'), open, await sign(again, 'text'))).toBe(true);
});

test('the public half is what ssh-keygen writes', async () => {
  const x = 'AJTAxXMyOjnkRuVMvfNQ7gHWNSzGn7rx2xDtLMMJXpiH8FVawCRTTSwyHVPuWOkl';
  const y = 'b-5igTriRL1VGEvK1dZMaXfLgvTYehnTuLtHc9RjDRZ67_kW_jRhLiNs-k-m9Z96';
  const jwk = {kty: 'EC', crv: 'P-384', x, y};
  const publicKey = await crypto.subtle.importKey('jwk', jwk, {name: 'ECDSA', namedCurve: 'P-384'}, true, ['verify']);
  const {privateKey} = await createNodeKey();
  expect(await nodeKeyText({privateKey, publicKey}, 'public')).toBe(
    'ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBACUwMVzMjo55EblTL3zUO4B1j' +
      'Usxp+68dsQ7SzDCV6Yh/BVWsAkU00sMh1T7ljpJW/uYoE64kS9VRhLytXWTGl3y4L02HoZ07i7R3PUYw0Weu/5Fv40YS4jbPpPpvWfeg==\n',
  );
});

test.each(['', 'null', '[]', '{}', '{"kty": "EC", "crv": "P-256"}', '-----BEGIN PRIVATE KEY-----'])(
  'the text %j is refused as a key',
  async text => {
    await expect(createNodeKey(text)).rejects.toBeInstanceOf(LoRAError);
  },
);

test.each<[what: string, use: () => Promise<unknown>, message: string]>([
  ['a text that is none', () => createNodeKey(1 as never), 'The text of a key must be a string, got a number'],
  ['no half', async () => nodeKeyText(await createNodeKey(), undefined as never), 'must be "public" or "private", got'],
  ['another half', async () => nodeKeyText(await createNodeKey(), 'open' as never), 'got "open"'],
])('%s is refused', async (_, use, message) => {
  const using = use();
  await expect(using).rejects.toBeInstanceOf(LoRAError);
  await expect(using).rejects.toThrow(message);
});

test('the private half of a key that stays in its page is refused', async () => {
  const algorithm = {name: 'ECDSA', namedCurve: 'P-384'};
  const key = await crypto.subtle.generateKey(algorithm, false, ['sign', 'verify']);
  await expect(nodeKeyText(key, 'private')).rejects.toThrow('cannot be exported: a key of storedNodeKey stays');
  expect(await nodeKeyText(key, 'public')).toMatch(/^ecdsa-sha2-nistp384 /);
});

test('without IndexedDB, storedNodeKey says where to store the key', async () => {
  await expect(storedNodeKey()).rejects.toThrow(/In Node, store the key in a file/);
});

/** What `np.save` writes, without the numbers. */
function header(said: string, length = 128): Buffer {
  const start = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, (length - 10) & 0xff, (length - 10) >> 8]);
  return Buffer.concat([start, Buffer.from(`${said.padEnd(length - 11)}\n`)]);
}

const floats = (values: number[]) => Buffer.from(new Float32Array(values).buffer);
const doubles = (values: number[]) => Buffer.from(new Float64Array(values).buffer);

test.each([
  [[2, 3], '(2, 3)', [1, 2, 3, 4, 5, 6]],
  [[2], '(2,)', [1.5, -2]],
  [[], '()', [7]],
  [[0, 4], '(0, 4)', []],
])('an array of shape %j is written as by NumPy', (shape, tuple, values) => {
  const said = `{'descr': '<f4', 'fortran_order': False, 'shape': ${tuple}, }`;
  // NumPy fills up to a multiple of 64 bytes.
  const bytes = Buffer.concat([header(said, 128), floats(values)]);
  const written = Buffer.from(toNPY({shape, values: Float32Array.from(values)}));
  expect(fromNPY(bytes)).toEqual({shape, values: Float32Array.from(values)});
  expect(fromNPY(written)).toEqual({shape, values: Float32Array.from(values)});
  expect((written.length - 4 * values.length) % 64).toBe(0);
  expect(written.subarray(10, 10 + said.length).toString()).toBe(said);
});

test('doubles are read too, and rounded', () => {
  const bytes = Buffer.concat([
    header("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }"),
    doubles([0.1, 1e-50]),
  ]);
  expect([...fromNPY(bytes).values]).toEqual([Math.fround(0.1), 0]);
});

test('the order of Fortran, in which NumPy writes a transposed array, is read too', () => {
  // np.arange(6).reshape(3, 2).T and its three-dimensional relative, as np.save writes them
  const flat = header("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }");
  expect([...fromNPY(Buffer.concat([flat, floats([0, 1, 2, 3, 4, 5])])).values]).toEqual([0, 2, 4, 1, 3, 5]);
  const solid = header("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1, 3), }");
  expect([...fromNPY(Buffer.concat([solid, floats([0, 1, 2, 3, 4, 5])])).values]).toEqual([0, 2, 4, 1, 3, 5]);
});

test('what is written is read again', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(4), {maxLength: 4}), shape => {
      const size = shape.reduce((product, one) => product * one, 1);
      const values = Float32Array.from({length: size}, (_, i) => Math.sin(i) / 3);
      expect(fromNPY(toNPY({shape, values}))).toEqual({shape, values});
    }),
  );
});

test.each([
  ['big-endian', header("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }"), /little-endian/],
  ['of objects, which Python would run', header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"), /floats/],
  ['without a shape', header("{'descr': '<f4', 'fortran_order': False, }"), /floats/],
  ['of another version', Buffer.from([0x93, ...Buffer.from('NUMPY'), 9, 0, 0, 0, 0, 0, 0]), /NumPy/],
  ['of another format', Buffer.from('not an array at all'), /NumPy/],
  ['of nothing', Buffer.alloc(0), /NumPy/],
])('an array %s is refused', (_, head, message) => {
  const read = () => fromNPY(Buffer.concat([head, floats([1])]));
  expect(read).toThrow(LoRAError);
  expect(read).toThrow(message);
});

test('more numbers in the shape than there are bytes are refused before they take memory', () => {
  const bytes = header("{'descr': '<f4', 'fortran_order': False, 'shape': (999999999, 999999999), }");
  expect(() => fromNPY(bytes)).toThrow(/came with 0 bytes/);
});

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
