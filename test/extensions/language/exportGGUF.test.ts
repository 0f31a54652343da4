import * as tf from '@tensorflow/tfjs';
import {type Adapter, applyLoRA, disposeModel, getAdapter, type LoRAConfig, setAdapter} from 'tfjs-lora';
import {exportGGUF, loadGGUF} from 'tfjs-lora/language';
import {loadTransformer} from 'tfjs-lora/transformers';
import {type GGUFFile, openGGUF} from '../../../src/extensions/language/gguf/ggufFile';
import {dequantize} from '../../../src/extensions/quantized/formats/formats';
import {readerOf} from '../../../src/core/storage/sources';
import {withoutLeaks} from '../../helpers';
import {fixture} from '../transformers/fixtures';
import {fileOf, GGUF_NAMES, MORE_GGUF_NAMES} from './ggufFiles';

/** The metadata and the tensors of a file. */
async function read(bytes: Uint8Array<ArrayBuffer>) {
  const file: GGUFFile = await openGGUF(await readerOf(bytes, {}));
  const tensors: Record<string, {shape: readonly number[]; data: number[]; format: string}> = {};
  for await (const [{name, shape, format}, own] of file.read()) {
    const data = new Float32Array(tf.util.sizeFromShape([...shape]));
    dequantize(format, own!, 0, data.length / format.numbers, data);
    tensors[name] = {shape, data: [...data], format: format.name};
  }
  return {metadata: Object.fromEntries(file.metadata), tensors};
}

/** A model of a file with an adapter whose numbers count up, and what is written of it. */
async function written(name: string, config: LoRAConfig, options = {}) {
  const {model} = await loadGGUF(fileOf(name));
  const adapted = applyLoRA(model, {seed: 1, ...config});
  const adapter = getAdapter(adapted);
  const numbers: Adapter = {
    ...adapter,
    tensors: Object.fromEntries(
      Object.entries(adapter.tensors).map(([key, {shape, size}]) => [
        key,
        tf.tidy(() => tf.reshape(tf.range(1, size + 1), shape)),
      ]),
    ),
  };
  setAdapter(adapted, numbers);
  const file = await exportGGUF(adapted, options);
  tf.dispose([adapter.tensors, numbers.tensors]);
  [adapted, model].forEach(disposeModel);
  return read(file);
}

/** `count` numbers from 1 on in rows of `width`, transposed: what a tensor that counts up is in PyTorch's order. */
const transposed = (count: number, width: number) =>
  Array.from({length: count}, (_, i) => {
    const rows = count / width;
    return 1 + Math.floor(i / rows) + width * (i % rows);
  });

describe('an adapter in GGUF', () => {
  test('has the names of llama.cpp, A as [rank, in], B as [out, rank], and one alpha', async () => {
    await withoutLeaks(async () => {
      const {metadata, tensors} = await written('qwen2', {rank: 2, alpha: 6, targets: [/q_proj$/, /down_proj$/]});
      expect(metadata).toEqual({
        'general.type': 'adapter',
        'general.architecture': 'qwen2',
        'adapter.type': 'lora',
        'adapter.lora.alpha': 6,
      });
      const blocks = [0, 1].flatMap(block => [`blk.${block}.attn_q.weight`, `blk.${block}.ffn_down.weight`]);
      expect(Object.keys(tensors).sort()).toEqual(blocks.flatMap(each => [`${each}.lora_a`, `${each}.lora_b`]).sort());
      const {'blk.0.attn_q.weight.lora_a': a, 'blk.0.attn_q.weight.lora_b': b} = tensors;
      const [, width = 0] = a!.shape;
      expect(a).toEqual({shape: [2, width], data: transposed(2 * width, 2), format: 'F32'});
      const [out = 0] = b!.shape;
      expect(b).toEqual({shape: [out, 2], data: transposed(2 * out, out), format: 'F32'});
    });
  });

  test('orders rows of queries and keys of Llama by pairs that are rotated together, like the base', async () => {
    const {tensors} = await written('llama', {rank: 1, targets: [/q_proj$/, /k_proj$/, /v_proj$/]});
    const {data, shape} = tensors['blk.0.attn_q.weight.lora_b']!;
    const {config} = await loadedConfig('llama');
    const size = shape[0]! / (config.num_attention_heads as number);
    // The hub has the first halves of all pairs of a head, then the second ones: 1, 1 + size/2, 2, 2 + size/2, …
    const first = Array.from({length: size}, (_, i) => 1 + Math.floor(i / 2) + (i % 2) * (size / 2));
    expect(data.slice(0, size)).toEqual(first);
    expect(data.slice(size, 2 * size)).toEqual(first.map(value => value + size));
    const keys = tensors['blk.0.attn_k.weight.lora_b']!;
    expect(keys.shape[0]).toBe(size * (config.num_key_value_heads as number));
    expect(keys.data.slice(0, size)).toEqual(first);
    const plain = tensors['blk.0.attn_v.weight.lora_b']!;
    expect(plain.data).toEqual(plain.data.map((_, i) => i + 1));
  });

  test('has one alpha where layers differ, or the rank is stabilised', async () => {
    const overrides = [{targets: [/v_proj$/], rank: 1, alpha: 6}];
    const {metadata, tensors} = await written('qwen3', {rank: 4, alpha: 2, targets: [/q_proj$/, /v_proj$/], overrides});
    expect(metadata['adapter.lora.alpha']).toBe(2);
    const {data} = tensors['blk.0.attn_v.weight.lora_b']!;
    expect(data).toEqual(data.map((_, i) => 3 * (i + 1))); // 6 / 1 is 3 · 2 / 1
    const stabilized = await written('qwen3', {rank: 4, alpha: 3, rankStabilized: true, targets: [/q_proj$/]});
    expect(stabilized.metadata['adapter.lora.alpha']).toBe(6); // 3 / √4 is 6 / 4
  });

  test.each([
    ['gpt2', /c_attn$/, 'blk.0.attn_qkv.weight'],
    ['gemma3', /gate_proj$/, 'blk.0.ffn_gate.weight'],
    ['phi3', /qkv_proj$/, 'blk.0.attn_qkv.weight'],
    ['phi3', /gate_up_proj$/, 'blk.0.ffn_up.weight'],
  ])('of %s, %s is %s', async (name, target, tensor) => {
    const {metadata, tensors} = await written(name, {rank: 1, targets: [target]});
    expect(metadata['general.architecture']).toBe(name);
    const {shape, data} = tensors[`${tensor}.lora_b`]!;
    expect(data).toEqual(Array.from({length: shape[0]!}, (_, i) => i + 1));
  });

  test('of the token embedding has A by tokens, which is not transposed, and an update of the head', async () => {
    const {config, weights} = fixture('llama');
    const {model} = await loadTransformer({config, weights});
    const adapted = applyLoRA(model, {
      rank: 2,
      seed: 1,
      targets: ['model/embed_tokens', 'lm_head'],
      init: 'ones',
    });
    const {tensors} = await read(await exportGGUF(adapted));
    const {vocab_size: vocabulary, hidden_size: width} = JSON.parse(config) as Record<string, number>;
    expect(Object.entries(tensors).map(([name, {shape}]) => [name, shape])).toEqual([
      ['token_embd.weight.lora_a', [vocabulary, 2]],
      ['token_embd.weight.lora_b', [width, 2]],
      ['output.weight.lora_a', [2, width]],
      ['output.weight.lora_b', [vocabulary, 2]],
    ]);
  });

  test('may have 16 bits', async () => {
    const {tensors} = await written('qwen2', {rank: 1, targets: [/q_proj$/]}, {dtype: 'float16'});
    const {format, data} = tensors['blk.0.attn_q.weight.lora_b']!;
    expect(format).toBe('F16');
    expect(data).toEqual(data.map((_, i) => i + 1));
  });
});

async function loadedConfig(name: string) {
  const {model, config} = await loadGGUF(fileOf(name));
  disposeModel(model);
  return {config};
}

describe('what GGUF adapters cannot hold is refused', () => {
  test.each<[string, LoRAConfig, RegExp]>([
    ['methods of other updates', {method: 'ia3', targets: [/v_proj$/]}, /layers\/0\/self_attn\/v_proj: its method ia3/],
    [
      'layers that train in full',
      {targets: [/q_proj$/], trainInFull: ['model/norm']},
      /model\/norm: all its weights train/,
    ],
    ['biases', {targets: [/q_proj$/], bias: 'adapted'}, /q_proj: its base weights train too/],
    ['a tied output head', {targets: ['lm_head']}, /lm_head: the embedding is also the output head/],
    [
      'a tied token embedding',
      {targets: ['model/embed_tokens']},
      /embed_tokens: the embedding is also the output head/,
    ],
  ])('%s', async (_, config, message) => {
    const {model} = await loadGGUF(fileOf('qwen2'));
    const adapted = applyLoRA(model, config.method === 'ia3' ? config : ({rank: 1, ...config} as LoRAConfig));
    await expect(exportGGUF(adapted)).rejects.toThrow(message);
  });

  test('numbers that are not finite, unless they are allowed', async () => {
    const {model} = await loadGGUF(fileOf('qwen2'));
    const adapted = applyLoRA(model, {rank: 1, targets: [/q_proj$/]});
    const adapter = getAdapter(adapted);
    const [name] = Object.keys(adapter.tensors).filter(key => key.endsWith('lora_A')) as [string];
    const spoilt = tf.fill(adapter.tensors[name]!.shape, Infinity);
    const broken = {...adapter, tensors: {...adapter.tensors, [name]: spoilt}};
    const save = (options = {}) => exportGGUF(adapted, {adapter: broken, ...options});
    await expect(save()).rejects.toThrow('blk.0.attn_q.weight.lora_a: NaN or infinite, so nothing is written.');
    await expect(save({dtype: 'float16'})).rejects.toThrow('blk.0.attn_q.weight.lora_a: NaN or infinite');
    expect(await save({allowNonFinite: true})).toBeInstanceOf(Uint8Array);
  });

  test('models that no architecture of GGUF is', async () => {
    const {config, weights} = fixture('bert');
    const {model} = await loadTransformer({config, weights});
    const adapted = applyLoRA(model, {rank: 1, targets: [/query$/]});
    await expect(exportGGUF(adapted)).rejects.toThrow(/model_type "bert".*gemma3_text/);
    const stranger = applyLoRA(tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [2]})]}));
    await expect(exportGGUF(stranger)).rejects.toThrow(/The architecture of the model is unknown/);
  });
});

test.each([...GGUF_NAMES, ...MORE_GGUF_NAMES])(
  '%s: what applyLoRA adapts by default, exportGGUF writes',
  async name => {
    const {metadata, tensors} = await written(name, {rank: 1});
    expect(metadata['general.type']).toBe('adapter');
    const names = Object.keys(tensors).map(tensor => tensor.replace(/^blk\.\d+\./, 'blk.N.'));
    expect(names.filter(tensor => !tensor.startsWith('blk.N.'))).toEqual([]);
    expect(names).toContain('blk.N.attn_output.weight.lora_a');
  },
);
