import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, checkpoint, fileHandler, loadAdapter, loadKerasModel, resume, saveAdapter} from 'tfjs-lora';
import {written} from '../adapter/adapters';
import {numbers} from '../../helpers';
import {MemoryHandler} from '../../models';

// In Node bytes often are a Buffer: a view of a memory that others share, whose `slice` is a view too.

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tfjs-lora-views-'));
});
afterEach(() => {
  rmSync(folder, {recursive: true});
});

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
