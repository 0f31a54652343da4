import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, compileModel, disposeModel, mergeLoRA, sgd} from 'tfjs-lora';
import type {RandomAccess} from 'tfjs-lora/language';
import {loadTransformer, type TransformerOptions, type TransformerSources} from 'tfjs-lora/transformers';
import {SLICE} from '../../../src/extensions/quantized/kernels/wasm/blocksInHeap';
import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';
import {useBackend, withoutLeaks} from '../../helpers';
import {removeTemporaryFolders, temporaryFolder} from '../../temporaryFolder';
import {fixture} from './fixtures';

const whole = SLICE.bytes;
beforeEach(() => useBackend('wasm'));
afterEach(() => {
  SLICE.bytes = whole;
});
afterAll(removeTemporaryFolders);

const STREAMED = {weights: 'streamed', tokenizer: false} as const;
const IN_MEMORY = {weights: 'memory', tokenizer: false} as const;
const folderOf = (name: string) => join('test/fixtures/transformers', name);

/** The losses of three steps, and then the values of what trains. */
async function trained(folder: string, options: TransformerOptions, [rows, columns]: [number, number], targets = {}) {
  const {model: base} = await loadTransformer(folder, options);
  const model = applyLoRA(base, {rank: 2, seed: 1, targets: 'linear', ...targets});
  compileModel(model, {optimizer: sgd({learningRate: 0.1})});
  const ids = tf.randomUniform([rows, columns], 0, 12, 'int32', 1);
  const mask = tf.onesLike(ids);
  const results: unknown[] = [];
  for (let step = 0; step < 3; step++) {
    results.push(await model.trainOnBatch([ids, mask], ids));
  }
  results.push(...model.trainableWeights.map(weight => [...weight.read().dataSync()]));
  tf.dispose([ids, mask]);
  [model, base].forEach(disposeModel);
  return results;
}

/** The files of a Llama with random matrices of whole parts of 32 values, in two files of a type. */
function writeLlama(dtype: 'F32' | 'F16' | 'BF16'): string {
  const [width, inner, vocabulary] = [64, 96, 40];
  const config = {
    ...{architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: width, intermediate_size: inner},
    ...{num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1, vocab_size: vocabulary},
    ...{max_position_embeddings: 32, rms_norm_eps: 1e-5, tie_word_embeddings: true},
  };
  const folder = join(temporaryFolder(), dtype);
  mkdirSync(folder);
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  let seed = 0;
  const values = (...shape: number[]) => {
    const data = Float32Array.from({length: shape.reduce((a, b) => a * b)}, () => Math.sin(++seed * seed) / 4);
    return {shape, data};
  };
  const layer = (i: number) =>
    Object.fromEntries(
      Object.entries({
        ...{'self_attn.q_proj': [width, width], 'self_attn.k_proj': [width / 2, width]},
        ...{'self_attn.v_proj': [width / 2, width], 'self_attn.o_proj': [width, width]},
        ...{'mlp.gate_proj': [inner, width], 'mlp.up_proj': [inner, width], 'mlp.down_proj': [width, inner]},
        ...{input_layernorm: [width], post_attention_layernorm: [width]},
      }).map(([name, shape]) => [`model.layers.${i}.${name}.weight`, values(...shape)]),
    );
  const files = [
    {'model.embed_tokens.weight': values(vocabulary, width), ...layer(0)},
    {...layer(1), 'model.norm.weight': values(width)},
  ];
  files.forEach((tensors, i) => {
    writeFileSync(join(folder, `model-0000${i + 1}-of-00002.safetensors`), encodeSafetensors(tensors, {dtype}));
  });
  return folder;
}

describe('training with streamed safetensors changes an adapter by the same bits', () => {
  test.each([
    ...['gemma', 'gemma2Tied', 'gptNeoX', 'lfm2Tied', 'llama', 'llamaTied', 'olmo2', 'optTied', 'phi', 'phi3', 'qwen2'],
    ...['qwen3', 'smollm3Tied'],
  ])('%s', async name => {
    for (const shape of [
      [1, 8],
      [8, 8],
    ] as [number, number][]) {
      await withoutLeaks(async () => {
        SLICE.bytes = 1; // the smallest slices
        const streamed = await trained(folderOf(name), {...STREAMED, gradientCheckpointing: true}, shape);
        expect(streamed).toEqual(await trained(folderOf(name), {...IN_MEMORY, gradientCheckpointing: true}, shape));
      });
    }
  });

  test.each(['F32', 'F16', 'BF16'] as const)('of two files in %s', async dtype => {
    const folder = writeLlama(dtype);
    for (const gradientCheckpointing of [true, false]) {
      for (const rows of [1, 3, 9]) {
        SLICE.bytes = 1;
        const options = {gradientCheckpointing};
        const streamed = await trained(folder, {...STREAMED, ...options}, [rows, 8]);
        expect(streamed).toEqual(await trained(folder, {...IN_MEMORY, ...options}, [rows, 8]));
      }
    }
  });

  test('with a head and norms that train in full', async () => {
    const targets = {targets: [/[qv]_proj$/], trainInFull: [/norm$/]};
    const folder = folderOf('qwen3');
    const streamed = await trained(folder, STREAMED, [1, 8], targets);
    expect(streamed).toEqual(await trained(folder, IN_MEMORY, [1, 8], targets));
  });
});

/** A file in memory that counts what is read of it. */
class CountedFile implements RandomAccess {
  reads = 0;
  closed = 0;
  constructor(readonly bytes: Uint8Array) {}

  get size(): number {
    return this.bytes.length;
  }

  read(target: Uint8Array, begin: number): number {
    this.reads++;
    target.set(this.bytes.subarray(begin, begin + target.length));
    return Math.min(target.length, this.size - begin);
  }

  close(): void {
    this.closed++;
  }
}

const filesOf = (folder: string) =>
  ['1', '2'].map(i => new CountedFile(readFileSync(join(folder, `model-0000${i}-of-00002.safetensors`))));

test('each block is read once in a prediction, and files are closed with the model', async () => {
  const folder = writeLlama('BF16');
  const weights = filesOf(folder);
  const config = readFileSync(join(folder, 'config.json'), 'utf8');
  const held = tf.memory().numBytes;
  const {model} = await loadTransformer({config, weights, tokenizer: false}, {weights: 'streamed'});
  expect(tf.memory().numBytes - held).toBe(4 * 64 * 5); // the normalizations
  weights.forEach(file => (file.reads = 0));
  tf.tidy(() => model.predict([tf.tensor2d([[1, 2]], undefined, 'int32'), tf.ones([1, 2])]));
  expect(weights.map(({reads}) => reads)).toEqual([2 + 1 + 1, 1]); // two tokens, two blocks, the head
  expect(weights.map(({closed}) => closed)).toEqual([0, 0]);
  disposeModel(model);
  expect(weights.map(({closed}) => closed)).toEqual([1, 1]);
});

test('files of the origin private file system are read by their access handles, and closed', async () => {
  const folder = writeLlama('BF16');
  const config = readFileSync(join(folder, 'config.json'), 'utf8');
  const files = filesOf(folder);
  const weights = files.map(file => ({
    createSyncAccessHandle: () =>
      Promise.resolve({
        getSize: () => file.size,
        read: (target: Uint8Array, {at}: {at: number}) => file.read(target, at),
        close: () => {
          file.close();
        },
      }),
  }));
  const predictions: Float32Array[] = [];
  for (const {model} of [
    await loadTransformer({config, weights, tokenizer: false}, {weights: 'streamed'}),
    await loadTransformer(folder, IN_MEMORY),
  ]) {
    const ids = tf.tensor2d([[1, 2, 3, 4, 5, 6, 7]], undefined, 'int32');
    predictions.push(tf.tidy(() => (model.predict([ids, tf.onesLike(ids)]) as tf.Tensor).dataSync<'float32'>()));
    ids.dispose();
    disposeModel(model);
  }
  expect(predictions[0]).toEqual(predictions[1]);
  expect(files.map(({closed}) => closed)).toEqual([1, 1]);
});

test('a file without matrices is closed once it has been read', async () => {
  const folder = writeLlama('F32');
  const config = readFileSync(join(folder, 'config.json'), 'utf8');
  const ending = new CountedFile(encodeSafetensors({'cls.bias': {shape: [1], data: Float32Array.of(0)}}));
  const weights = [...filesOf(folder), ending];
  const {model} = await loadTransformer({config, weights, tokenizer: false}, {weights: 'streamed'});
  expect(weights.map(({closed}) => closed)).toEqual([0, 0, 1]);
  disposeModel(model);
});

describe('streamed weights are refused', () => {
  const load = (sources: Partial<TransformerSources>, options: TransformerOptions = {}) => {
    const {config, weights} = fixture('llama');
    return loadTransformer({config, weights, tokenizer: false, ...sources}, {weights: 'streamed', ...options});
  };

  test.each([
    ['in memory', {}, 'Streamed weights need a path or a file descriptor in Node'],
    ['at an address', {weights: 'https://host/model.safetensors'}, 'cannot be streamed from an address'],
    ['of another format', {weights: new CountedFile(new Uint8Array(100).fill(7))}, 'not a whole safetensors file'],
    [
      'that are too large',
      {weights: new CountedFile(fixture('llama').weights), maxBytes: 1000},
      'more than the 1,000 bytes that are allowed',
    ],
  ] as [string, Partial<TransformerSources>, string][])('%s', async (_, sources, message) => {
    await withoutLeaks(() => expect(load(sources)).rejects.toThrow(message));
  });

  test('by options with other values, and on other backends', async () => {
    await expect(load({}, {weights: 'disk' as 'memory', maxReadBytes: -1})).rejects.toThrow(/maxReadBytes[^]*weights/);
    await useBackend('cpu');
    await expect(load({})).rejects.toThrow('Streamed weights need the wasm backend');
  });

  test('of GPT-2, whose matrices have a column for each output', async () => {
    const weights = new CountedFile(fixture('gpt2').weights);
    await expect(load({config: fixture('gpt2').config, weights})).rejects.toThrow('has a column for each output');
    expect(weights.closed).toBe(1);
  });

  test('by methods that need the whole kernel, and by merging more than the limit', async () => {
    const options = {...STREAMED, maxReadBytes: 100};
    const {model: base} = await loadTransformer(folderOf('llama'), options);
    expect(() => applyLoRA(base, {rank: 2, method: 'dora'})).toThrow('The weights are quantized or streamed');
    const model = applyLoRA(base, {rank: 2});
    expect(() => mergeLoRA(model)).toThrow('The weights are streamed from their file');
    [model, base].forEach(disposeModel);
  });
});
