import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {LoRAError} from '../../../src/platform/errors';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';

const PEFT = readFileSync(join(__dirname, '../../fixtures/peft/lora/adapter_model.safetensors'));

/** A file of the given header and data, whether they make sense or not. */
function file(header: unknown, data = new Uint8Array(), length?: bigint): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return bytes;
}

const entry = (shape: unknown, offsets: unknown, dtype: unknown = 'F32') => ({dtype, shape, data_offsets: offsets});
const TWO = new Uint8Array(new Float32Array([1.5, -2]).buffer);

describe('a file', () => {
  test('is laid out as the format says', () => {
    const bytes = encodeSafetensors({a: {shape: [1, 2], data: new Float32Array([1.5, -2])}}, {metadata: {k: 'v'}});
    const json = '{"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}';
    const padded = json.padEnd(Math.ceil(json.length / 8) * 8);
    expect(Buffer.from(bytes)).toEqual(
      Buffer.concat([Buffer.from([padded.length, 0, 0, 0, 0, 0, 0, 0]), Buffer.from(padded), TWO]),
    );
  });

  test('that PEFT wrote is read', () => {
    const {metadata, tensors} = decodeSafetensors(PEFT);
    expect(Object.fromEntries(metadata)).toEqual({format: 'pt'});
    const first = tensors.get('base_model.model.conv1.lora_A.weight')!;
    expect(first).toMatchObject({dtype: 'F32', shape: [3, 3, 3, 3]});
    const start = 8 + Number(PEFT.readBigUInt64LE(0));
    expect([first.data![0], first.data![80]]).toEqual([PEFT.readFloatLE(start), PEFT.readFloatLE(start + 320)]);
    expect(tensors.size).toBe(8);
  });

  test('comes back as it was written, in each type', () => {
    const data = new Float32Array([0, -0, 1, 0.1, 1e-7, -65504, Infinity, NaN, -Infinity]);
    const allowNonFinite = true;
    const tensors = {'x/lora_A': {shape: [3, 3], data}, empty: {shape: [0, 4], data: new Float32Array()}};
    const exact = decodeSafetensors(
      encodeSafetensors(tensors, {metadata: {text: '"ü\u0000\ud83d\ude00"'}, allowNonFinite}),
    );
    expect(exact.metadata.get('text')).toBe('"ü\u0000\ud83d\ude00"');
    expect(exact.tensors.get('x/lora_A')).toEqual({dtype: 'F32', shape: [3, 3], data});
    expect(exact.tensors.get('empty')).toEqual({dtype: 'F32', shape: [0, 4], data: new Float32Array()});
    const half = decodeSafetensors(encodeSafetensors(tensors, {dtype: 'F16', allowNonFinite})).tensors.get('x/lora_A')!;
    // 0.1 and 1e-7 rounded to 11 bits, by hand: 0.1 = 1638.4·2^-14 → 1638·2^-14; 1e-7 = 1.68·2^-24 → 2·2^-24.
    expect(half).toEqual({
      dtype: 'F16',
      shape: [3, 3],
      data: new Float32Array([0, -0, 1, 1638 / 2 ** 14, 2 ** -23, -65504, Infinity, NaN, -Infinity]),
    });
    const brain = decodeSafetensors(encodeSafetensors(tensors, {dtype: 'BF16', allowNonFinite})).tensors.get(
      'x/lora_A',
    )!;
    // 0.1 = 204.8·2^-11 → 205·2^-11
    expect(Array.from(brain.data!.subarray(0, 4))).toEqual([0, -0, 1, 205 / 2 ** 11]);
  });

  test('is not written with numbers that are not finite, or would not be', () => {
    const tensors = Object.fromEntries(
      Object.entries({fine: 1, nan: NaN, infinite: -Infinity, large: 65520, larger: 3.4e38}).map(([name, value]) => [
        name,
        {shape: [2], data: new Float32Array([0, value])},
      ]),
    );
    const write = (dtype: 'F32' | 'F16' | 'BF16', allowNonFinite = false) =>
      encodeSafetensors(tensors, {dtype, allowNonFinite});
    const refusal = 'infinite, nan: NaN or infinite, so nothing is written.';
    expect(() => write('F32')).toThrow(new RegExp(`^${refusal}.*allowNonFinite: true`));
    expect(() => write('F16')).toThrow(`large, larger: values too large for float16. Save as float32.\n${refusal}`);
    expect(() => write('BF16')).toThrow(`larger: values too large for bfloat16. Save as float32.\n${refusal}`);
    expect(() => write('F16', true)).toThrow(/^large, larger: values too large for float16\. Save as float32\.$/);
    expect(decodeSafetensors(write('F32', true)).tensors.get('nan')!.data).toEqual(new Float32Array([0, NaN]));
  });

  test('is read from the middle of a buffer', () => {
    const bytes = encodeSafetensors({a: {shape: [2], data: new Float32Array([1, 2])}});
    const within = new Uint8Array(bytes.length + 3);
    within.set(bytes, 3);
    expect(decodeSafetensors(within.subarray(3)).tensors.get('a')!.data).toEqual(new Float32Array([1, 2]));
  });

  test('may hold integers, whose values are not read', () => {
    const bytes = file({n: entry([], [0, 8], 'I64')}, TWO);
    expect(decodeSafetensors(bytes).tensors.get('n')).toEqual({dtype: 'I64', shape: [], data: null});
  });

  test('may give its tensors in any order, and space behind its header', () => {
    const header = JSON.stringify({b: entry([1], [4, 8]), none: entry([0], [4, 4]), a: entry([1], [0, 4])});
    const {tensors} = decodeSafetensors(file(`${header}   `, TWO));
    expect([tensors.get('a')!.data![0], tensors.get('b')!.data![0]]).toEqual([1.5, -2]);
  });
});

describe('is refused:', () => {
  test.each<[string, Uint8Array, RegExp]>([
    ['no bytes', new Uint8Array(), /0 bytes/],
    ['less than a length', new Uint8Array(7), /7 bytes/],
    ['a header beyond the end', file('{}', TWO, 11n), /header should have 11 bytes, and 10 are there/],
    ['a header of 2^63 bytes', file('{}', TWO, 2n ** 63n), /header should have/],
    ['an empty header', file(''), /header cannot be read/],
    ['a header that is no JSON', file('{"a":'), /header cannot be read/],
    ['a header that is no text', file('{}').fill(0xff, 8), /header cannot be read/],
    ['a header behind a byte order mark', file('\ufeff{}'), /header cannot be read/],
    ['a list for a header', file('[]'), /header is \[\], not an object/],
    ['deep nesting', file('['.repeat(100_000)), /nested more deeply/],
    ['metadata that are no object', file({__metadata__: 'x'}), /metadata is "x"/],
    ['metadata that are no texts', file({__metadata__: {a: 1}}), /metadata of "a" is 1, not a text/],
    ['a tensor without a type', file({a: {}}), /a: of type undefined/],
    ['a tensor that is null', file({a: null}), /a: of type undefined/],
    ['an unknown type', file({a: entry([2], [0, 8], 'F12')}, TWO), /a: of type "F12"/],
    ['a type from the prototype', file({a: entry([2], [0, 8], 'toString')}, TWO), /a: of type "toString"/],
    ['a shape that is no list', file({a: entry(2, [0, 8])}, TWO), /a: its shape is 2/],
    ['a negative axis', file({a: entry([-2, -1], [0, 8])}, TWO), /a: its shape is \[-2,-1\]/],
    ['half an axis', file({a: entry([0.5, 4], [0, 8])}, TWO), /a: its shape is/],
    ['one offset', file({a: entry([2], [8])}, TWO), /a: its offsets are \[8\]/],
    ['three offsets', file({a: entry([2], [0, 8, 8])}, TWO), /a: its offsets are/],
    ['offsets in reverse', file({a: entry([2], [8, 0])}, TWO), /a: its offsets are \[8,0\]/],
    [
      'a shape too large',
      file({a: entry([3], [0, 8])}, TWO),
      /a: of shape \[3\] and type F32 it takes 12 bytes, and has 8/,
    ],
    ['a shape beyond all numbers', file({a: entry(Array(40).fill(2 ** 52), [0, 8])}, TWO), /takes Infinity bytes/],
    ['a tensor beyond the end', file({a: entry([3], [0, 12])}, TWO), /a: ends at byte 12 of 8/],
    ['an overlap', file({a: entry([2], [0, 8]), b: entry([1], [4, 8])}, TWO), /b: begins at byte 4, inside/],
    ['a hole', file({a: entry([1], [4, 8])}, TWO), /bytes 0 to 4 belong to no tensor/],
    ['bytes left over', file({a: entry([1], [0, 4])}, TWO), /bytes 4 to 8 belong to no tensor/],
    [
      'a name twice',
      file(
        '{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"\\u0061" ' +
          ':{"dtype":"F32","shape":[],"data_offsets":[4,8]}}',
        TWO,
      ),
      /"a": there twice/,
    ],
    ['metadata twice', file('{"__metadata__":{"k":"1","k":"2"}}'), /"k": there twice/],
    [
      'the name __proto__',
      file('{"__proto__":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', TWO),
      /name "__proto__"/,
    ],
  ])('%s', (_, bytes, message) => {
    expect(() => decodeSafetensors(bytes)).toThrow(LoRAError);
    expect(() => decodeSafetensors(bytes)).toThrow(message);
  });

  test('several faults are listed in the order of the header', () => {
    const tensor = {dtype: 'F32', shape: 'x', data_offsets: [0, 4]};
    const faults = (header: string) => {
      try {
        decodeSafetensors(file(header, TWO));
        return [];
      } catch (error) {
        return (error as Error).message.split('\n').slice(1);
      }
    };
    const header = `{"w": ${JSON.stringify(tensor)}, "__metadata__": {"a": 1, "b": 2}, "__proto__": {}}`;
    expect(faults(header)).toEqual([
      expect.stringContaining('w: its shape is "x"'),
      expect.stringContaining('the metadata of "a" is 1'),
      expect.stringContaining('the metadata of "b" is 2'),
      expect.stringContaining('a tensor cannot have the name "__proto__"'),
    ]);
    expect(faults(`{"w": ${JSON.stringify(tensor)}, "__metadata__": 1}`)).toEqual([
      expect.stringContaining('w: its shape is "x"'),
      expect.stringContaining('its metadata is 1'),
    ]);
  });

  test('a header that is too large to be one', () => {
    expect(() => decodeSafetensors(file(' '.repeat(2 ** 24 + 1)))).toThrow(/more than the 16777216 that are allowed/);
  });

  test('what is not bytes', () => {
    expect(() => decodeSafetensors('{}' as unknown as Uint8Array)).toThrow(LoRAError);
  });

  test('a long list of faults, in short', () => {
    const many = Object.fromEntries(Array.from({length: 1000}, (_, i) => [`t${i}`, {}]));
    const read = () => decodeSafetensors(file(many));
    expect(read).toThrow(/… and 990 more/);
  });

  test('a tensor that cannot be written', () => {
    const data = new Float32Array(2);
    expect(() => encodeSafetensors({a: {shape: [3], data}})).toThrow(/"a", of shape \[3\], with 2 numbers/);
    expect(() => encodeSafetensors({__metadata__: {shape: [2], data}})).toThrow(LoRAError);
  });
});
