import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, checkpoint, fileHandler, loadAdapter, loadKerasModel, resume, saveAdapter} from 'tfjs-lora';
import {getAdapter, toSafetensors} from '../../../src';
import {bytesOfSpecs, measureSpecs} from '../../../src/core/storage/weightBytes';
import {disposeModel, removeLoRA, setAdapter, summarizeLoRA} from '../../../src/node';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors, type NamedValues} from '../../../src/platform/formats/encodeSafetensors';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {cnn, MemoryHandler, predictions, stirUpdates} from '../../models';
import {temporaryFolder} from '../../temporaryFolder';
import {written} from '../adapter/adapters';

type Spec = tf.io.WeightsManifestEntry;

const floats: Spec = {name: 'floats', shape: [2, 3], dtype: 'float32'};
const flags: Spec = {name: 'flags', shape: [5], dtype: 'bool'};
const bytes: Spec = {
  name: 'bytes',
  shape: [7],
  dtype: 'float32',
  quantization: {dtype: 'uint8', scale: 1, min: 0},
};
const halves: Spec = {...bytes, name: 'halves', quantization: {dtype: 'float16'}};
const shorts: Spec = {...bytes, name: 'shorts', quantization: {dtype: 'uint16', scale: 1, min: 0}};
const ints: Spec = {...floats, name: 'ints', dtype: 'int32'};
const complex = {...floats, name: 'complex', dtype: 'complex64'} as Spec;
const texts: Spec = {name: 'texts', shape: [2], dtype: 'string'};

/** Texts as tfjs stores them: for each its length, then its bytes. */
function textsOf(...lengths: number[]): Uint8Array {
  return Uint8Array.from(lengths.flatMap(length => [length, 0, 0, 0, ...new Array<number>(length).fill(1)]));
}

test('weights take the bytes of their type, or of the one that they are quantized to', () => {
  expect(bytesOfSpecs([])).toBe(0);
  expect(bytesOfSpecs([floats, flags, bytes, halves])).toBe(24 + 5 + 7 + 14);
  expect([ints, complex, shorts].map(spec => bytesOfSpecs([spec]))).toEqual([24, 48, 14]);
  expect(bytesOfSpecs([{...floats, shape: []}])).toBe(4);
});

test('specs do not tell how many bytes texts take; the bytes do', () => {
  expect(bytesOfSpecs([floats, texts])).toBeUndefined();
  expect(measureSpecs([texts], textsOf(3, 0))).toBe(4 + 3 + 4);
  const file = Uint8Array.from([...new Uint8Array(24), ...textsOf(1, 2), ...new Uint8Array(5)]);
  expect(measureSpecs([floats, texts, flags], file)).toBe(24 + 4 + 1 + 4 + 2 + 5);
  // From the middle of a buffer, as a view may be.
  expect(measureSpecs([texts], Uint8Array.from([9, ...textsOf(3, 0)]).subarray(1))).toBe(11);
});

test('texts that end too early take more bytes than there are', () => {
  expect(measureSpecs([texts], textsOf(3))).toBe(4 + 3 + 4);
  expect(measureSpecs([texts], textsOf(9).subarray(0, 6))).toBeGreaterThan(6);
  expect(measureSpecs([{...texts, shape: [1e9]}], textsOf(1, 1))).toBeGreaterThan(1e9);
});

test('a type that tfjs cannot read is refused by name', () => {
  const wrong = {...floats, dtype: 'float64'} as unknown as Spec;
  const message = 'Weight "floats" is stored as float64, which TensorFlow.js cannot read.';
  expect(() => bytesOfSpecs([wrong])).toThrow(message);
  expect(() => measureSpecs([wrong], new Uint8Array(100))).toThrow(message);
});

/** The bytes of an adapter of VeRA, with something changed in its config. */
async function changed(change: (parts: Record<string, unknown>) => unknown): Promise<Uint8Array> {
  const bytes = await toSafetensors(getAdapter(applyLoRA(cnn().model, {method: 'vera', rank: 6})));
  const {metadata, tensors} = decodeSafetensors(bytes);
  const config = JSON.parse(metadata.get('config')!) as {parts: Record<string, unknown>};
  const values = Object.fromEntries([...tensors].map(([name, {shape, data}]) => [name, {shape, data} as NamedValues]));
  const text = JSON.stringify({...config, parts: change(config.parts)});
  return encodeSafetensors(values, {metadata: {...Object.fromEntries(metadata), config: text}});
}

test('the random factors of VeRA are in a file once, and load as they were, bit for bit', async () => {
  const {model, inputs} = cnn();
  const adapted = applyLoRA(model, {method: 'vera', rank: 6});
  stirUpdates(adapted);
  const expected = predictions(adapted, inputs);
  await withoutLeaks(async () => {
    const adapter = getAdapter(adapted);
    const bytes = await toSafetensors(adapter);
    const names = [...decodeSafetensors(bytes).tensors.keys()].filter(name => /vera_[AB]$/.test(name));
    expect(names.sort()).toEqual(['vera_A', 'vera_B']);
    const handler = new MemoryHandler();
    await saveAdapter(adapter, handler);
    for (const read of [await loadAdapter(bytes), await loadAdapter(handler)]) {
      expect(read.config).toEqual(adapter.config);
      const values = ({tensors}: typeof read) =>
        Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, numbers(tensor)]));
      expect(values(read)).toEqual(values(adapter));
      const again = applyLoRA(model, read);
      expect(predictions(again, inputs)).toEqual(expected);
      again.dispose();
      read.dispose();
    }
    adapter.dispose();
  });
});

test('layers with random factors of their own keep them in the file', async () => {
  await useBackend('cpu');
  const {model} = cnn();
  const adapter = getAdapter(applyLoRA(model, {method: 'vera', rank: 6}));
  const [name] = Object.keys(adapter.tensors).filter(each => each.endsWith('vera_A'));
  const other = {...adapter, tensors: {...adapter.tensors, [name!]: tf.onesLike(adapter.tensors[name!]!)}};
  const bytes = await toSafetensors(other);
  const read = await loadAdapter(bytes);
  expect(decodeSafetensors(bytes).tensors.has(name!)).toBe(true);
  expect(numbers(read.tensors[name!]!)).toEqual(numbers(other.tensors[name!]!));
});

test.each<[string, (parts: Record<string, unknown>) => unknown]>([
  ['larger than the whole', parts => ({...parts, [Object.keys(parts)[0]!]: [1000, 1000, 6]})],
  ['without a shape', parts => ({...parts, [Object.keys(parts)[0]!]: 'all'})],
  ['of a tensor that is not there', parts => ({...parts, 'dense/kernel': [2, 2]})],
])('a part %s is refused, and leaves nothing behind', async (_, change) => {
  await useBackend('cpu');
  const bytes = await changed(change);
  await withoutLeaks(async () => {
    await expect(loadAdapter(bytes)).rejects.toThrow(/The adapter's file is broken: .* is no part of what it holds/);
  });
});

// In Node bytes often are a Buffer: a view of a memory that others share, whose `slice` is a view too.

let folder: string;

beforeEach(() => (folder = temporaryFolder()));

const adapter = () => written({dense: {a: [[1], [2], [3]], b: [[4, 5]]}});

/** What was saved, with its bytes in the middle of a larger memory. */
function inViews({artifacts}: MemoryHandler, pieces: 1 | 2): tf.io.IOHandler {
  const bytes = new Uint8Array(artifacts.weightData as ArrayBuffer);
  const whole = Buffer.alloc(4096, 0xaa);
  whole.set(bytes, 16);
  const [first, middle, end] = [16, 16 + bytes.length / 2, 16 + bytes.length];
  const views = [whole.subarray(first, middle), whole.subarray(middle, end)];
  const weightData = (pieces === 1 ? whole.subarray(first, end) : views) as unknown as ArrayBuffer;
  return {load: () => Promise.resolve({...artifacts, weightData})};
}

test('an empty file is refused for its 0 bytes', async () => {
  const file = join(folder, 'empty.safetensors');
  writeFileSync(file, '');
  await expect(loadAdapter(fileHandler(file))).rejects.toThrow('it has 0 bytes, and a header takes more');
  const {weightData} = await fileHandler(file).load!();
  expect((weightData as ArrayBuffer).byteLength).toBe(0);
});

describe.each([1, 2] as const)('a handler that gives a view of a larger memory, in pieces: %d', pieces => {
  test.each(['tfjs', 'safetensors'] as const)('loads the adapter, as %s', async format => {
    const memory = new MemoryHandler();
    await saveAdapter(adapter(), memory, {format});
    const {tensors} = await loadAdapter(inViews(memory, pieces));
    expect(Object.values(tensors).map(numbers)).toEqual([
      [1, 2, 3],
      [4, 5],
    ]);
  });

  test('loads a model of Keras 3, whose weights tfjs would read from the wrong place', async () => {
    const source = fileHandler('test/fixtures/keras/keras-3.15-keras-conv');
    const artifacts = await source.load!();
    const views = inViews({artifacts} as MemoryHandler, pieces);
    const [expected, found] = [await loadKerasModel(source), await loadKerasModel(views)].map(model =>
      model.getWeights().map(numbers),
    );
    expect(found).toEqual(expected);
  });

  test('saves a file of the bytes that it shows', async () => {
    const memory = new MemoryHandler();
    await saveAdapter(adapter(), memory, {format: 'safetensors'});
    const [artifacts, plain] = [await inViews(memory, pieces).load!(), memory.artifacts];
    const [file, same] = ['a', 'b'].map(name => fileHandler(join(folder, `${name}.safetensors`)));
    await file!.save!(artifacts);
    await same!.save!(plain);
    expect(await file!.load!()).toEqual(await same!.load!());
  });

  test('resumes from a checkpoint', async () => {
    const base = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3]})]});
    const model = applyLoRA(base, {rank: 1, seed: 1});
    model.compile({optimizer: 'adam', loss: 'meanSquaredError'});
    const memory = new MemoryHandler();
    await model.fit(tf.ones([4, 3]), tf.ones([4, 2]), {epochs: 1, callbacks: checkpoint(memory, {keep: 1})});
    const again = applyLoRA(base, {rank: 1, seed: 2});
    again.compile({optimizer: 'adam', loss: 'meanSquaredError'});
    await resume(again, inViews(memory, pieces), {keep: 1});
    expect(again.trainableWeights.map(weight => numbers(weight.read()))).toEqual(
      model.trainableWeights.map(weight => numbers(weight.read())),
    );
  });
});

const FOLDER = join(__dirname, '../../fixtures/adapted');

interface Values {
  shape: number[];
  values: number[];
}

interface Expected {
  inputs: Values[];
  base: Values;
  adapted: Values;
  classes: string[];
  config: object;
}

const EXPECTED = JSON.parse(readFileSync(join(FOLDER, 'expected.json'), 'utf8')) as Record<string, Expected>;

function predict(model: tf.LayersModel, {inputs}: Expected): ArrayLike<number> {
  return tf.tidy(() => {
    const xs = inputs.map(({shape, values}) => tf.tensor(values, shape));
    return (model.predict(xs.length === 1 ? xs[0]! : xs) as tf.Tensor).dataSync();
  });
}

describe.each(Object.entries(EXPECTED))('%s: a file on disk', (name, expected) => {
  const file = (path: string) => join(FOLDER, name, path);
  const load = () => tf.loadLayersModel(fileHandler(file('adapted')));

  test('loads as the adapted model that it was', async () => {
    await withoutLeaks(async () => {
      const model = await load();
      expect(predict(model, expected)).toBeAllClose(expected.adapted.values);
      expect(model.layers.map(layer => layer.getClassName().replace('tfjs-lora>', ''))).toEqual(expected.classes);
      const adapter = getAdapter(model);
      expect(adapter.config).toEqual(expected.config);
      adapter.dispose();
      disposeModel(model);
    });
  });

  test('gives the base back', async () => {
    await withoutLeaks(async () => {
      const model = await load();
      const base = removeLoRA(model);
      expect(predict(base, expected)).toBeAllClose(expected.base.values);
      disposeModel(model);
      disposeModel(base);
    });
  });

  test.each([
    ['in two files', () => loadAdapter(fileHandler(file('adapter')))],
    ['as safetensors', () => loadAdapter(readFileSync(file('adapter.safetensors')))],
  ])('holds an adapter %s that fits the base and the adapted model', async (_, read) => {
    await withoutLeaks(async () => {
      const adapter = await read();
      expect(adapter.config).toEqual(expected.config);
      const model = await load();
      const base = removeLoRA(model);
      const again = applyLoRA(base, adapter);
      expect(predict(again, expected)).toBeAllClose(expected.adapted.values);
      setAdapter(model, null);
      expect(predict(model, expected)).toBeAllClose(expected.base.values);
      setAdapter(model, adapter);
      expect(predict(model, expected)).toBeAllClose(expected.adapted.values);
      expect(String(summarizeLoRA(again))).toBe(String(summarizeLoRA(model)));
      adapter.dispose();
      [model, base, again].forEach(disposeModel);
    });
  });
});
