import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import {
  type Adapter,
  applyLoRA,
  getAdapter,
  loadAdapter,
  LoRAError,
  saveAdapter,
  type SaveOptions,
  setAdapter,
  toSafetensors,
} from '../../../src';
import {numbers, withoutLeaks} from '../../helpers';
import {cnn, MemoryHandler, mlp, predictions, stirFactors, train, ZOO} from '../../models';

/** The header of a safetensors file, and where its data begin. */
function headerOf(bytes: Uint8Array): {header: Record<string, unknown>; start: number} {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const text = new TextDecoder().decode(bytes.subarray(8, 8 + length));
  return {header: JSON.parse(text) as Record<string, unknown>, start: 8 + length};
}

function withHeader(bytes: Uint8Array, change: (text: string) => string): Uint8Array {
  const {start} = headerOf(bytes);
  const json = new TextEncoder().encode(change(new TextDecoder().decode(bytes.subarray(8, start))));
  const changed = new Uint8Array(8 + json.length + bytes.length - start);
  new DataView(changed.buffer).setBigUint64(0, BigInt(json.length), true);
  changed.set(json, 8);
  changed.set(bytes.subarray(start), 8 + json.length);
  return changed;
}

function values(adapter: Adapter): Record<string, number[]> {
  return Object.fromEntries(Object.entries(adapter.tensors).map(([name, tensor]) => [name, numbers(tensor)]));
}

test.each(ZOO)('the adapter of %s comes back bit for bit', async (_, make) => {
  const {model, inputs} = make();
  const adapted = applyLoRA(model, {rank: 2, alpha: 3, bias: 'adapted'});
  await train(adapted, inputs);
  const adapter = getAdapter(adapted);
  const again = await loadAdapter(await toSafetensors(adapter));
  expect(again.config).toEqual(adapter.config);
  expect(values(again)).toEqual(values(adapter));
  expect(predictions(applyLoRA(model, again), inputs)).toEqual(predictions(adapted, inputs));
});

test.each<[SaveOptions['dtype'], number, number]>([
  ['float32', 4, 0],
  ['float16', 2, 2 ** -11],
  ['bfloat16', 2, 2 ** -8],
])('%s takes %d bytes a number and rounds by no more than its precision', async (dtype, size, precision) => {
  await withoutLeaks(async () => {
    const {model, inputs} = mlp();
    const adapted = applyLoRA(model, {rank: 2});
    stirFactors(adapted);
    const adapter = getAdapter(adapted);
    const bytes = await toSafetensors(adapter, {dtype});
    const count = Object.values(adapter.tensors).reduce((sum, tensor) => sum + tensor.size, 0);
    expect(bytes.length - headerOf(bytes).start).toBe(size * count);
    const again = await loadAdapter(bytes);
    for (const [name, tensor] of Object.entries(adapter.tensors)) {
      expect(again.tensors[name]!.dtype).toBe('float32');
      const [before, after] = [numbers(tensor), numbers(again.tensors[name]!)];
      after.forEach((value, i) => {
        expect(Math.abs(value - before[i]!)).toBeLessThanOrEqual(Math.abs(before[i]!) * precision);
      });
    }
    [adapter, again].forEach(each => each.dispose());
    [adapted, model].forEach(each => each.dispose());
    tf.dispose(inputs);
  });
});

test.each<SaveOptions>([{}, {format: 'tfjs'}, {format: 'safetensors'}, {format: 'safetensors', dtype: 'float16'}])(
  'saveAdapter and loadAdapter take each other by any handler, with %p',
  async options => {
    const {model} = cnn();
    const adapted = applyLoRA(model, {rank: 2, trainInFull: ['norm']});
    stirFactors(adapted);
    const handler = new MemoryHandler();
    const specs = () => handler.artifacts.weightSpecs!;
    await saveAdapter(adapted, handler, options);
    const again = await loadAdapter(handler);
    expect(again.config).toEqual(getAdapter(adapted).config);
    if (options.dtype === undefined) {
      expect(values(again)).toEqual(values(getAdapter(adapted)));
    }
    // What handlers know of the bytes is how many there are.
    expect((handler.weightData as ArrayBuffer).byteLength).toBe(
      specs().reduce((sum, {shape, dtype}) => sum + tf.util.sizeFromShape(shape) * (dtype === 'bool' ? 1 : 4), 0),
    );
  },
);

describe('a file', () => {
  async function example(): Promise<{adapted: tf.LayersModel; adapter: Adapter; bytes: Uint8Array}> {
    const adapted = applyLoRA(mlp().model, {rank: 2, targets: ['hidden']});
    stirFactors(adapted);
    const adapter = getAdapter(adapted);
    return {adapted, adapter, bytes: await toSafetensors(adapter)};
  }

  test('names its tensors as the adapter does, and has the config as text', async () => {
    const {adapter, bytes} = await example();
    const {header} = headerOf(bytes);
    expect(Object.keys(header)).toEqual(['__metadata__', 'hidden/lora_A', 'hidden/lora_B']);
    const metadata = header.__metadata__ as Record<string, string>;
    expect(metadata.format).toBe('tfjs-lora-adapter');
    expect(JSON.parse(metadata.config!)).toEqual(adapter.config);
  });

  test.each<[string, (text: string) => string, RegExp]>([
    ['of PyTorch', text => text.replace('tfjs-lora-adapter', 'pt'), /loadAdapter\(\{config, weights\}, \{model\}\)/],
    ['of something else', text => text.replace('tfjs-lora-adapter', 'np'), /its format is "np"/],
    ['of another version', text => text.replace('"version":"1"', '"version":"2"'), /version "2"/],
    ['without a config', text => text.replace('"config"', '"other"'), /config in the adapter's file is not valid JSON/],
    ['with half a config', text => text.replace(String.raw`\"trainable\":[]}`, ' '), /not valid JSON/],
    ['with a config of another kind', text => text.replace('trainable', 'trained'), /not the config of an adapter/],
    [
      'with a config that says things twice',
      text => text.replace(String.raw`{\"layers`, String.raw`{\"trainable\":[],\"layers`),
      /"trainable" twice/,
    ],
    ['with an invalid rank', text => text.replace(String.raw`\"rank\":2`, String.raw`\"rank\":-2`), /rank must be/],
    ['with integers', text => text.replaceAll('"F32"', '"U32"'), /of type U32, not F32/],
  ])('%s is refused', async (_, change, message) => {
    const {bytes} = await example();
    const read = () => loadAdapter(withHeader(bytes, change));
    await expect(read).rejects.toThrow(LoRAError);
    await expect(read).rejects.toThrow(message);
  });

  test.each<[string, (deep: string) => string, RegExp]>([
    [
      'a rank',
      deep => `{"layers":{"x":{"className":"Dense","freezeBaseLayer":true,"rank":${deep}}},"trainable":[]}`,
      /rank/,
    ],
    [
      'a layer of its head',
      deep =>
        `{"layers":{},"trainable":[],"head":{"at":"x","layers":[{"className":"Dense","config":{"name":"y","z":${deep}}}]}}`,
      /head.*nested more deeply/,
    ],
  ])('with %s that is nested without end is refused', async (_, config, message) => {
    const {bytes} = await example();
    const deep = '['.repeat(100_000) + ']'.repeat(100_000);
    const read = () =>
      loadAdapter(
        withHeader(bytes, text => {
          const {__metadata__: metadata, ...rest} = JSON.parse(text) as Record<string, object>;
          return JSON.stringify({__metadata__: {...metadata, config: config(deep)}, ...rest});
        }),
      );
    await expect(read).rejects.toThrow(LoRAError);
    await expect(read).rejects.toThrow(message);
  });

  test('is not written with numbers that its type cannot hold', async () => {
    const {adapter} = await example();
    const tensors = {...adapter.tensors, 'hidden/lora_A': tf.fill([5, 2], 65519)};
    expect(headerOf(await toSafetensors({...adapter, tensors}, {dtype: 'float16'})).start).toBeGreaterThan(8);
    const large = {...adapter, tensors: {...adapter.tensors, 'hidden/lora_A': tf.fill([5, 2], -65520)}};
    await expect(toSafetensors(large, {dtype: 'float16'})).rejects.toThrow(
      'hidden/lora_A: values too large for float16',
    );
    await expect(toSafetensors(large, {dtype: 'bfloat16'})).resolves.toBeInstanceOf(Uint8Array);
  });

  test('of a type or format that does not exist is refused', async () => {
    const {adapter} = await example();
    const handler = new MemoryHandler();
    await expect(toSafetensors(adapter, {dtype: 'int8' as 'float16'})).rejects.toThrow(
      'dtype must be one of "float32", "float16", "bfloat16", got "int8".',
    );
    await expect(saveAdapter(adapter, handler, {format: 'gguf' as 'tfjs'})).rejects.toThrow('got "gguf"');
    await expect(saveAdapter(adapter, handler, {format: 'tfjs', dtype: 'float16'})).rejects.toThrow(
      "pass {format: 'safetensors'",
    );
    expect(handler.json).toBe('');
  });

  test('that is mutated or random loads correctly or is refused, and leaves the model as it was', async () => {
    const {adapted, adapter, bytes} = await example();
    const {start} = headerOf(bytes);
    const tokens = [
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '0',
      '-1',
      '1e99',
      '9007199254740993',
      'null',
      '"F16"',
      '"BF16"',
      '"I64"',
    ];
    const place = fc.nat(bytes.length - 1);
    const mutated = fc.oneof(
      fc.array(fc.tuple(place, fc.nat(255)), {minLength: 1, maxLength: 4}).map(changes => {
        const copy = bytes.slice();
        changes.forEach(([at, value]) => (copy[at] = value));
        return copy;
      }),
      fc.tuple(fc.integer({min: start, max: bytes.length - 1}), fc.nat(255)).map(([at, value]) => {
        const copy = bytes.slice();
        copy[at] = value;
        return copy;
      }),
      place.map(length => bytes.slice(0, length)),
      fc.uint8Array({minLength: 1, maxLength: 40}).map(more => Uint8Array.from([...bytes, ...more])),
      fc
        .tuple(fc.nat(start - 9), fc.nat(6), fc.constantFrom(...tokens))
        .map(([at, length, token]) => withHeader(bytes, text => text.slice(0, at) + token + text.slice(at + length))),
      fc.tuple(fc.bigInt({min: 0n, max: 2n ** 64n - 1n}), fc.boolean()).map(([length, small]) => {
        const copy = bytes.slice();
        new DataView(copy.buffer).setBigUint64(0, small ? length % 1024n : length, true);
        return copy;
      }),
      fc.tuple(fc.nat(7), fc.nat(80), fc.nat(80)).map(([which, begin, end]) =>
        withHeader(bytes, text => {
          let count = 0;
          return text.replace(/\[\d+,\d+\]/g, pair => (count++ === which % 4 ? `[${begin},${end}]` : pair));
        }),
      ),
      fc.uint8Array({maxLength: 200}),
      fc.json().map(json => withHeader(bytes, () => json)),
    );
    const before = values(getAdapter(adapted));
    let loaded = 0;
    await fc.assert(
      fc.asyncProperty(mutated, async file => {
        const memory = tf.memory();
        let read: Adapter;
        try {
          read = await loadAdapter(file);
        } catch (error) {
          expect(error).toBeInstanceOf(LoRAError);
          expect(tf.memory().numTensors).toBe(memory.numTensors);
          return;
        }
        loaded++;
        expect(tf.memory().numBytes - memory.numBytes).toBeLessThanOrEqual(2 * file.length);
        const {header, start: begin} = headerOf(file);
        for (const [name, entry] of Object.entries(header)) {
          if (name !== '__metadata__') {
            const {dtype, data_offsets: offsets} = entry as {dtype: string; data_offsets: [number, number]};
            const data = Buffer.from(file.slice(begin + offsets[0], begin + offsets[1]));
            if (dtype === 'F32') {
              const expected = Array.from({length: data.length / 4}, (_, i) => data.readFloatLE(4 * i));
              expect(numbers(read.tensors[name]!)).toEqual(expected.map(value => value + 0));
            }
          }
        }
        try {
          setAdapter(adapted, read);
          setAdapter(adapted, adapter);
        } catch (error) {
          expect(error).toBeInstanceOf(LoRAError);
        }
        read.dispose();
      }),
      {numRuns: 10_000, seed: 42},
    );
    expect(loaded).toBeGreaterThan(500);
    expect(loaded).toBeLessThan(9000);
    expect(values(getAdapter(adapted))).toEqual(before);
  });
});
