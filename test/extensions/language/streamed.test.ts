import {closeSync, copyFileSync, mkdtempSync, openSync, rmSync, truncateSync, utimesSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  compileModel,
  disposeModel,
  getAdapter,
  mergeLoRA,
  moveTo,
  removeLoRA,
  saveAdapter,
  setAdapter,
  sgd,
  summarizeLoRA,
} from 'tfjs-lora';
import {addTokens, generateTexts, loadGGUF, type LoadGGUFOptions, type RandomAccess} from 'tfjs-lora/language';
import {SLICE} from '../../../src/extensions/quantized/kernels/wasm/blocksInHeap';
import {currentTape} from '../../../src/platform/tfjs/engine';
import {useBackend, withoutLeaks} from '../../helpers';
import {MemoryHandler} from '../../models';
import {fileOf, GGUF_NAMES, MORE_GGUF_NAMES} from './ggufFiles';

const pathOf = (name: string) => join('test/fixtures/gguf', `${name}.gguf`);
const whole = SLICE.bytes;
afterEach(() => {
  SLICE.bytes = whole;
});

/** A file in memory that counts what is read of it, and can fail. */
class CountedFile implements RandomAccess {
  readonly bytes: Uint8Array;
  reads = 0;
  closed = 0;
  /** What reads after the last give. */
  fails: (() => number) | undefined;
  last = 0;

  constructor(name: string) {
    this.bytes = fileOf(name);
  }

  get size(): number {
    return this.bytes.length;
  }

  read(target: Uint8Array, begin: number): number {
    this.reads++;
    if (this.fails !== undefined && this.reads > this.last) {
      return this.fails();
    }
    target.set(this.bytes.subarray(begin, begin + target.length));
    return Math.min(target.length, this.size - begin);
  }

  close(): void {
    this.closed++;
  }
}

const load = async (source: Parameters<typeof loadGGUF>[0], options: LoadGGUFOptions = {}) =>
  (await loadGGUF(source, {...options, tokenizer: false})).model;

const ids = [
  [5, 7, 9, 11, 13, 2, 3, 4],
  [1, 2, 3, 4, 5, 6, 7, 8],
];
const batch = () => {
  const tokens = tf.tensor2d(ids, undefined, 'int32');
  return [tokens, tf.onesLike(tokens)];
};
const valuesOf = (model: tf.LayersModel) => model.trainableWeights.map(weight => [...weight.read().dataSync()]);

/** What trains, after three steps. */
async function trained(base: tf.LayersModel, config: object): Promise<number[][]> {
  const model = applyLoRA(base, {rank: 2, seed: 1, ...config});
  const optimizer = sgd({learningRate: 0.1});
  compileModel(model, {optimizer});
  const [tokens, mask] = batch() as [tf.Tensor, tf.Tensor];
  for (let step = 0; step < 3; step++) {
    await model.trainOnBatch([tokens, mask], tokens);
  }
  const values = valuesOf(model);
  tf.dispose([tokens, mask]);
  [model, base].forEach(disposeModel);
  return values;
}

describe('training with streamed weights changes an adapter by the same bits', () => {
  test.each([...GGUF_NAMES, ...MORE_GGUF_NAMES])('%s', async name => {
    for (const gradientCheckpointing of [true, false]) {
      await withoutLeaks(async () => {
        SLICE.bytes = whole;
        const expected = await trained(await load(pathOf(name), {gradientCheckpointing}), {targets: 'linear'});
        SLICE.bytes = 1; // the smallest slices
        const file = new CountedFile(name);
        const streamed = await load(file, {gradientCheckpointing, weights: 'streamed'});
        expect(await trained(streamed, {targets: 'linear'})).toEqual(expected);
        expect(file.closed).toBe(1);
      });
    }
  });

  test.each([
    ['lora-fa', {method: 'lora-fa'}],
    ['vera', {method: 'vera'}],
    ['ia3', {method: 'ia3', rank: undefined}],
    ['norms trained in full', {targets: [/q_proj$/], trainInFull: [/norm$/]}],
    ['an adapted head', {targets: ['lm_head']}],
  ] as [string, object][])('with %s', async (_, config) => {
    const expected = await trained(await load(pathOf('qwen3')), config);
    expect(await trained(await load(pathOf('qwen3'), {weights: 'streamed'}), config)).toEqual(expected);
  });
});

test('each block is read once in the forward pass and once in the backward pass with gradientCheckpointing', async () => {
  const file = new CountedFile('llama'); // two blocks
  const base = await load(file, {weights: 'streamed', gradientCheckpointing: true});
  const model = applyLoRA(base, {rank: 2, targets: [/q_proj$/, /v_proj$/]});
  compileModel(model, {optimizer: sgd({learningRate: 0.1})});
  const [tokens, mask] = batch() as [tf.Tensor, tf.Tensor];
  file.reads = 0;
  await model.trainOnBatch([tokens, mask], tokens);
  const rows = new Set(ids.flat()).size;
  // The second block is the last of the forward pass and the first of the backward pass, with the head between them,
  // which is read for its product and for its gradient.
  expect(file.reads).toBe(rows + 2 + 2 + 1);
  tf.dispose([tokens, mask]);
  [model, base].forEach(disposeModel);
});

describe('memory', () => {
  test('streamed weights do not count as held, however often they are shared', async () => {
    const before = tf.memory().numBytes;
    const base = await load(pathOf('kQuants'), {weights: 'streamed'});
    const held = tf.memory().numBytes - before;
    const floats = base.layers
      .filter(layer => !/Quantized/.test(layer.getClassName()))
      .flatMap(({weights}) => weights)
      .reduce((sum, weight) => sum + 4 * weight.read().size, 0);
    expect(held).toBe(floats);
    const model = applyLoRA(base, {rank: 2, targets: [/q_proj$/]});
    const plain = removeLoRA(model);
    [plain, model, base].forEach(disposeModel);
    expect(tf.memory().numBytes).toBe(before);
  });

  test('a file is closed with the last model of it', async () => {
    const file = new CountedFile('llama');
    const base = await load(file, {weights: 'streamed'});
    const model = applyLoRA(base, {rank: 2});
    disposeModel(base);
    expect(file.closed).toBe(0);
    disposeModel(model);
    expect(file.closed).toBe(1);
  });

  test('two models read one file', async () => {
    const [one, other] = [
      await load(pathOf('llama'), {weights: 'streamed'}),
      await load(pathOf('llama'), {weights: 'streamed'}),
    ];
    const logits = (model: tf.LayersModel) => tf.tidy(() => [...(model.predict(batch()) as tf.Tensor).dataSync()]);
    const expected = logits(one);
    expect(logits(other)).toEqual(expected);
    disposeModel(one);
    expect(logits(other)).toEqual(expected);
    disposeModel(other);
  });
});

describe('what a resident model does, a streamed one does', () => {
  const tokenizer = {
    encode: (text: string) => ({ids: Array.from(text, each => each.codePointAt(0)! % 200)}),
    decode: (tokens: readonly number[]) => tokens.join(' '),
  };

  test.each(['llama', 'qwen3', 'gemma3'])('%s generates the same text', async name => {
    const texts = async (weights: 'memory' | 'streamed') => {
      SLICE.bytes = weights === 'memory' ? whole : 1;
      const base = await load(pathOf(name), {weights});
      const model = applyLoRA(base, {rank: 2, seed: 1, targets: 'linear'});
      const result = await generateTexts(model, tokenizer, ['abc', 'de'], {maxTokens: 8});
      [model, base].forEach(disposeModel);
      return result;
    };
    expect(await texts('streamed')).toEqual(await texts('memory'));
  });

  test('adapters are saved, and set on another model, with the fingerprint of the base', async () => {
    const file = new CountedFile('llama');
    const base = await load(file, {weights: 'streamed'});
    const resident = await load(pathOf('llama'));
    const model = applyLoRA(base, {rank: 2, seed: 1, targets: [/q_proj$/]});
    const twin = applyLoRA(resident, {rank: 2, seed: 2, targets: [/q_proj$/]});
    const warn = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
    const saved = new MemoryHandler();
    file.reads = 0;
    await saveAdapter(model, saved);
    expect(file.reads).toBe(2 * 8); // eight values of each of two matrices
    const adapter = getAdapter(model);
    setAdapter(twin, adapter);
    expect(warn).not.toHaveBeenCalled();
    expect(valuesOf(twin)).toEqual(valuesOf(model));
    adapter.dispose();
    [twin, model, resident, base].forEach(disposeModel);
  });

  test('operations that need all values read them within the limit, and are refused beyond it', async () => {
    const base = await load(pathOf('llama'), {weights: 'streamed'});
    const resident = await load(pathOf('llama'));
    const all = (model: tf.LayersModel) => model.getWeights().map(weight => [...weight.dataSync()]);
    expect(all(base)).toEqual(all(resident));
    const [model, twin] = [base, resident].map(each => applyLoRA(each, {rank: 2, seed: 1})) as [
      tf.LayersModel,
      tf.LayersModel,
    ];
    const merged = [model, twin].map(each => mergeLoRA(each)) as [tf.LayersModel, tf.LayersModel];
    expect(all(merged[0])).toEqual(all(merged[1]));
    [...merged, model, twin, base, resident].forEach(disposeModel);

    const large = await load(pathOf('llama'), {weights: 'streamed', maxReadBytes: 1000});
    const adapted = applyLoRA(large, {rank: 2});
    expect(() => mergeLoRA(adapted)).toThrow(/would read them into memory, 1 MB in all/);
    await expect(adapted.save(new MemoryHandler())).rejects.toThrow(/maxReadBytes/);
    [adapted, large].forEach(disposeModel);
  });

  test('what would make them resident is refused, and changes nothing', async () => {
    const base = await load(pathOf('llama'), {weights: 'streamed'});
    const held = tf.memory().numBytes;
    const blocks = base.getWeights().find(({dtype}) => dtype === 'int32')!;
    expect(() => tf.tidy(() => tf.add(blocks, 1))).toThrow(/would hold them from then on/);
    await expect(moveTo(base, 'cpu')).rejects.toThrow(/streamed/);
    expect(tf.getBackend()).toBe('wasm');
    expect(() => addTokens(base, tokenizer as never, ['<new>'])).toThrow();
    expect(tf.memory().numBytes).toBe(held);
    disposeModel(base);
  });

  test('summaries name the streamed weights', async () => {
    const base = await load(pathOf('llama'), {weights: 'streamed'});
    const model = applyLoRA(base, {rank: 2});
    const matrices = base.weights.filter(({dtype}) => dtype === 'int32').map(weight => 4 * weight.read().size);
    expect(summarizeLoRA(model).streamedBytes).toBe(matrices.reduce((sum, bytes) => sum + bytes, 0));
    expect(String(summarizeLoRA(model))).toMatch(/^streamed from the file: [\d,]+ bytes$/m);
    [model, base].forEach(disposeModel);
  });
});

describe('sources', () => {
  test('a file descriptor is left open', async () => {
    const descriptor = openSync(pathOf('llama'), 'r');
    disposeModel(await load(descriptor, {weights: 'streamed'}));
    closeSync(descriptor); // it throws for one that is closed
  });

  test.each([
    [new URL('https://example.com/model.gguf'), /cannot be streamed from an address/],
    [new Blob([]), /only in a worker/],
    [new Uint8Array(4), /need a path or a file descriptor/],
    [null, /need a path or a file descriptor/],
  ])('%p is refused', async (source, message) => {
    await expect(load(source as never, {weights: 'streamed'})).rejects.toThrow(message);
  });

  test('a handle of the origin private file system, and a Blob in a worker, are read', async () => {
    const bytes = fileOf('llama');
    const expected = await trained(await load(bytes), {targets: [/q_proj$/]});
    const handle = {
      getSize: () => bytes.length,
      read: (target: Uint8Array, {at}: {at: number}) => {
        target.set(bytes.subarray(at, at + target.length));
        return target.length;
      },
      close: jest.fn(),
    };
    const file = {createSyncAccessHandle: () => Promise.resolve(handle)};
    expect(await trained(await load(file, {weights: 'streamed'}), {targets: [/q_proj$/]})).toEqual(expected);
    expect(handle.close).toHaveBeenCalledTimes(1);
    const global = globalThis as {FileReaderSync?: unknown};
    global.FileReaderSync = class {
      readAsArrayBuffer({bytes: part}: {bytes: Uint8Array}) {
        return part.slice().buffer;
      }
    };
    const blob = new Blob([bytes]);
    blob.slice = (begin, end) => ({bytes: bytes.subarray(begin, end)}) as unknown as Blob;
    try {
      expect(await trained(await load(blob, {weights: 'streamed'}), {targets: [/q_proj$/]})).toEqual(expected);
    } finally {
      delete global.FileReaderSync;
    }
  });

  test('other backends are refused by name', async () => {
    await useBackend('cpu');
    await expect(load(pathOf('llama'), {weights: 'streamed'})).rejects.toThrow(/current one is cpu/);
    await useBackend('wasm');
  });

  test.each([
    [{weights: 'disk'}, /weights must be 'memory' or 'streamed', got "disk"/],
    [{weights: 'streamed', quantized: false}, /needs all weights in float32/],
    [{weights: 'streamed', maxReadBytes: -1}, /maxReadBytes/],
  ])('%p is refused', async (options, message) => {
    await expect(load(pathOf('llama'), options as LoadGGUFOptions)).rejects.toThrow(message);
  });
});

describe('faults', () => {
  test.each([
    [
      'a disk that fails',
      (): number => {
        throw new Error('EIO: i/o error');
      },
      /cannot be read: EIO/,
    ],
    ['a short read', () => 3, /gave 3 of/],
    ['a read that returns nothing', () => undefined as unknown as number, /gave undefined of/],
  ] as [string, () => number, RegExp][])(
    '%s in a step is an error, and the step changes nothing',
    async (_, fails, message) => {
      // The look-up reads eleven rows, and the last of fifteen reads is that of the backward pass.
      for (const [after, gradientCheckpointing] of [
        [0, true],
        [12, true],
        [14, true],
        [14, false],
      ] as const) {
        const file = new CountedFile('llama');
        const base = await load(file, {weights: 'streamed', gradientCheckpointing});
        const model = applyLoRA(base, {rank: 2, seed: 1, targets: [/q_proj$/]});
        compileModel(model, {optimizer: sgd({learningRate: 0.1})});
        const [tokens, mask] = batch() as [tf.Tensor, tf.Tensor];
        await model.trainOnBatch([tokens, mask], tokens);
        const values = valuesOf(model);
        const {numTensors} = tf.memory();
        [file.fails, file.last] = [fails, file.reads + after];
        await expect(model.trainOnBatch([tokens, mask], tokens)).rejects.toThrow(message);
        expect(valuesOf(model)).toEqual(values);
        // Stock tfjs keeps the loss of a backward pass that fails: see below.
        expect(tf.memory().numTensors).toBe(numTensors + (after === 14 ? 1 : 0));
        file.fails = undefined;
        await model.trainOnBatch([tokens, mask], tokens); // the next step computes what it would have
        tf.dispose([tokens, mask]);
        [model, base].forEach(disposeModel);
      }
    },
  );

  test('stock tfjs keeps the loss of a step whose backward pass fails', async () => {
    let fails = false;
    const passOn = tf.customGrad(x => ({
      value: (x as tf.Tensor).clone(),
      gradFunc: dy => {
        if (fails) {
          throw new Error('failed');
        }
        return dy;
      },
    }));
    const model = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [2]})]});
    model.compile({optimizer: 'sgd', loss: (_, y) => passOn(tf.mean(y))});
    const [x, y] = [tf.ones([1, 2]), tf.ones([1, 1])];
    await model.trainOnBatch(x, y);
    const {numTensors} = tf.memory();
    fails = true;
    await expect(model.trainOnBatch(x, y)).rejects.toThrow('failed');
    // This library frees the tape, but the loss is on its way to the caller.
    const saved = new Set((currentTape() ?? []).flatMap(node => node.saved ?? []));
    expect(tf.memory().numTensors).toBe(numTensors + saved.size + 1);
    tf.dispose([...saved]);
  });

  test.each([
    ['truncated', (path: string) => truncateSync(path, 5000), /has changed/],
    ['changed', (path: string) => utimesSync(path, 1, 1), /has changed/],
  ])('a file that is %s is an error', async (_, change, message) => {
    const folder = mkdtempSync(join(tmpdir(), 'streamed-'));
    const path = join(folder, 'model.gguf');
    copyFileSync(pathOf('llama'), path);
    const model = await load(path, {weights: 'streamed'});
    change(path);
    expect(() => tf.tidy(() => model.predict(batch()))).toThrow(message);
    disposeModel(model);
    rmSync(folder, {recursive: true});
  });

  test('a file that is removed stays readable', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'streamed-'));
    const path = join(folder, 'model.gguf');
    copyFileSync(pathOf('llama'), path);
    const model = await load(path, {weights: 'streamed'});
    rmSync(folder, {recursive: true});
    tf.tidy(() => model.predict(batch()));
    disposeModel(model);
  });

  test('a descriptor that was closed is an error', async () => {
    const descriptor = openSync(pathOf('llama'), 'r');
    const model = await load(descriptor, {weights: 'streamed'});
    closeSync(descriptor);
    expect(() => tf.tidy(() => model.predict(batch()))).toThrow(/no longer open/);
    disposeModel(model);
  });

  test('a load that fails closes the file', async () => {
    const file = new CountedFile('llama');
    await expect(load(file, {weights: 'streamed', maxBytes: 10})).rejects.toThrow(/more than the 10 bytes/);
    expect(file.closed).toBe(1);
    const damaged = new CountedFile('llama');
    damaged.bytes[0] = 0;
    await expect(load(damaged, {weights: 'streamed'})).rejects.toThrow(/not a GGUF file/);
    expect(damaged.closed).toBe(1);
  });
});
