import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import '../../../src/node';
import {applyLoRA, disposeModel} from '../../../src/index';
import {loadTransformer} from '../../../src/transformers';
import {QuantizedDense} from '../../../src/extensions/quantized/layers/quantizedDense';
import {field} from '../../../src/extensions/onnx/file/protobuf';
import {supplyCapabilities} from '../../../src/backends/shared/capabilities';
import {wasmCapabilities} from '../../../src/backends/wasm/capabilities';
import {encodeSafetensors, type NamedValues} from '../../../src/platform/formats/encodeSafetensors';
import {numbers, useBackend} from '../../helpers';
import {removeTemporaryFolders, temporaryFolder} from '../../temporaryFolder';
import {floats, int, type Message, type NodeEntry, onnxFile, value} from '../onnx/files';

beforeAll(() => useBackend('cpu'));
afterAll(removeTemporaryFolders);

const CONFIG = {
  ...{architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: 32, intermediate_size: 64},
  ...{num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1, vocab_size: 16},
  ...{max_position_embeddings: 32, rms_norm_eps: 1e-5, tie_word_embeddings: false},
};
const ATTENTION = 'model.layers.0.self_attn';
const MATRICES: Record<string, [units: number, width: number]> = {
  [`${ATTENTION}.q_proj`]: [32, 32],
  [`${ATTENTION}.k_proj`]: [16, 32],
  [`${ATTENTION}.v_proj`]: [16, 32],
  [`${ATTENTION}.o_proj`]: [32, 32],
  'model.layers.0.mlp.gate_proj': [64, 32],
  'model.layers.0.mlp.up_proj': [64, 32],
  'model.layers.0.mlp.down_proj': [32, 64],
  lm_head: [16, 32],
};
const VECTORS = ['model.layers.0.input_layernorm', 'model.layers.0.post_attention_layernorm', 'model.norm'];
const TABLE = Array.from({length: 16 * 32}, (_, i) => Math.sin(i * 7));
const INPUT = [[3, 1, 4, 1, 5]];

/** The integer of a matrix at a place, 0 to 15. */
const integer = (i: number) => (i * 11 + Math.floor(i / 5)) % 16;

/**
 * The same model twice: with a node of `MatMulNBits` for each matrix, as optimum names them, and as safetensors of what
 * these nodes multiply with, `(q - zero)·scale`.
 *
 * @param zero the zero point of all blocks, which are of 32.
 */
function files(scale: number, zero?: number) {
  const nodes: NodeEntry[] = [];
  const initializers: Message[] = [];
  const tensors: Record<string, NamedValues> = {};
  const addFloats = (name: string, shape: number[], data: number[]) => {
    initializers.push(floats(name, shape, data));
    tensors[name] = {shape, data: Float32Array.from(data)};
  };
  const addBytes = (name: string, shape: number[], bytes: Uint8Array) => {
    initializers.push([...shape.map(size => field(1, size)), field(2, 2), field(8, name), field(9, bytes)]);
  };
  addFloats('model.embed_tokens.weight', [16, 32], TABLE);
  VECTORS.forEach(name => addFloats(`${name}.weight`, [32], new Array<number>(32).fill(1)));
  for (const [module, [units, width]] of Object.entries(MATRICES)) {
    const blocks = width / 32;
    const inputs = ['q', 'scales', ...(zero === undefined ? [] : ['zeros'])].map(part => `${module}_${part}`);
    const pairs = Array.from({length: (units * width) / 2}, (_, i) => integer(2 * i) | (integer(2 * i + 1) << 4));
    addBytes(inputs[0]!, [units, blocks, 16], Uint8Array.from(pairs));
    initializers.push(floats(inputs[1]!, [units * blocks], new Array<number>(units * blocks).fill(scale)));
    if (zero !== undefined) {
      const perRow = Math.ceil(blocks / 2);
      addBytes(inputs[2]!, [units * perRow], new Uint8Array(units * perRow).fill(zero | (zero << 4)));
    }
    const data = Float32Array.from({length: units * width}, (_, i) => (integer(i) - (zero ?? 8)) * scale);
    tensors[`${module}.weight`] = {shape: [units, width], data};
    nodes.push({
      ...{op: 'MatMulNBits', domain: 'com.microsoft', name: `/${module.replaceAll('.', '/')}/MatMul_Q4`},
      inputs: [`${module}_x`, ...inputs],
      outputs: [`${module}_y`],
      attributes: [int('K', width), int('N', units), int('bits', 4), int('block_size', 32)],
    });
  }
  const onnx = onnxFile({nodes, initializers, inputs: [value('x', [null, 32])], outputs: [value('y', [null, 32])]});
  return {onnx, safetensors: encodeSafetensors(tensors)};
}

const load = async (weights: Uint8Array) => (await loadTransformer({config: CONFIG, weights, tokenizer: false})).model;
const logitsOf = (model: tf.LayersModel) =>
  tf.tidy(() => numbers(model.predict([tf.tensor2d(INPUT, undefined, 'int32'), tf.onesLike(INPUT)]) as tf.Tensor));

test.each([
  ['scales of float16 and no zero points, whose blocks are kept', 2 ** -5, undefined, 8],
  ['scales of float32', 0.03, undefined, 0],
  ['zero points', 2 ** -5, 5, 0],
])('a decoder in 4 bits computes with the weights of its file: %s', async (_, scale, zero, packed) => {
  const {onnx, safetensors} = files(scale, zero);
  const warn = jest.spyOn(console, 'warn').mockImplementation();
  const [model, floatModel] = [await load(onnx), await load(safetensors)];
  const warnings = packed > 0 ? [] : [[expect.stringMatching(/^8 matrices of the ONNX file are loaded as float32/)]];
  expect(warn.mock.calls).toEqual(warnings);
  warn.mockRestore();
  const count = (layers: readonly tf.layers.Layer[]) => layers.filter(layer => layer instanceof QuantizedDense).length;
  expect(count(model.layers)).toBe(packed);
  expect(logitsOf(model)).toBeAllClose(logitsOf(floatModel), {rtol: 1e-5, atol: 1e-5});
  const adapted = applyLoRA(model, {rank: 2, targets: [/[qv]_proj$/], seed: 1});
  expect(logitsOf(adapted)).toEqual(logitsOf(model));
  [adapted, model, floatModel].forEach(disposeModel);
});

test('a matrix with fewer bytes than its attributes say is not in the file', async () => {
  const {onnx} = files(2 ** -5);
  const text = Buffer.from(onnx).toString('latin1');
  const at = text.indexOf('K\x18\x20');
  expect(at).toBeGreaterThan(0);
  const larger = Uint8Array.from(onnx);
  larger[at + 2] = 0x40;
  await expect(load(larger)).rejects.toThrow('q_proj.weight: not in the files');
});

/** What the model builder writes: other names, q, k and v as one product, a shared table, and all tensors apart. */
function builtFiles(scale: number) {
  const nodes: NodeEntry[] = [];
  const initializers: Message[] = [];
  const tensors: Record<string, NamedValues> = {};
  const parts: Uint8Array[] = [];
  let offset = 0;
  const addTensor = (name: string, type: number, shape: number[], bytes: Uint8Array) => {
    const place = {location: 'model_q4.onnx.data', offset: String(offset), length: String(bytes.length)};
    const entries = Object.entries(place).map(([key, text]) => field(13, [field(1, key), field(2, text)]));
    initializers.push([
      ...shape.map(size => field(1, size)),
      ...[field(2, type), field(8, name), ...entries, field(14, 1)],
    ]);
    parts.push(bytes);
    offset += bytes.length;
  };
  const vectors = ['layers.0.input_layernorm', 'layers.0.post_attention_layernorm', 'layers.1.final_norm_layernorm'];
  vectors.forEach((name, i) => {
    const data = new Float32Array(32).fill(1 + i);
    addTensor(`model.${name}.weight`, 1, [32], new Uint8Array(data.buffer));
    tensors[VECTORS[i]! + '.weight'] = {shape: [32], data};
  });
  const joined = {'model.layers.0.attn.qkv_proj': ['q', 'k', 'v'].map(part => `${ATTENTION}.${part}_proj`)};
  const single = Object.keys(MATRICES).filter(name => !/\.[qkv]_proj$/.test(name));
  const products = {...joined, ...Object.fromEntries(single.map(name => [name.replace('self_attn', 'attn'), [name]]))};
  for (const [name, modules] of Object.entries(products)) {
    const [, width] = MATRICES[modules[0]!]!;
    const units = modules.reduce((sum, module) => sum + MATRICES[module]![0], 0);
    const pairs = Array.from({length: (units * width) / 2}, (_, i) => integer(2 * i) | (integer(2 * i + 1) << 4));
    const scales = new Float32Array((units * width) / 32).fill(scale);
    const inputs = [`${name}.MatMul.weight_Q4`, `${name}.MatMul.weight_scales`];
    addTensor(inputs[0]!, 2, [units, width / 32, 16], Uint8Array.from(pairs));
    addTensor(inputs[1]!, 1, [scales.length], new Uint8Array(scales.buffer));
    const path = `/${name.replace(/(?<!layers)\./g, '/')}`;
    nodes.push({
      ...{op: 'MatMulNBits', domain: 'com.microsoft', name: `${path}/MatMul_Q4`},
      inputs: [`${path}/x`, ...inputs],
      outputs: [`${path}/y`],
      attributes: [int('K', width), int('N', units), int('bits', 4), int('block_size', 32)],
    });
    let first = 0;
    for (const module of modules) {
      const [rows] = MATRICES[module]!;
      const data = Float32Array.from({length: rows * width}, (_, i) => (integer(first + i) - 8) * scale);
      tensors[`${module}.weight`] = {shape: [rows, width], data};
      first += rows * width;
    }
  }
  tensors['model.embed_tokens.weight'] = tensors['lm_head.weight']!;
  nodes.push({
    ...{op: 'GatherBlockQuantized', domain: 'com.microsoft', name: '/model/embed_tokens/GatherBlockQuantized'},
    inputs: ['table', 'ids', 'lm_head.MatMul.weight_scales'],
    outputs: ['states'],
  });
  const onnx = onnxFile({nodes, initializers, inputs: [value('x', [null, 32])], outputs: [value('y', [null, 32])]});
  return {onnx, data: Buffer.concat(parts), safetensors: encodeSafetensors(tensors)};
}

test('a folder without safetensors: names of the model builder, joined products, and weights in another file', async () => {
  const folder = temporaryFolder();
  const {onnx, data, safetensors} = builtFiles(2 ** -5);
  mkdirSync(join(folder, 'onnx'));
  writeFileSync(join(folder, 'config.json'), JSON.stringify(CONFIG));
  writeFileSync(join(folder, 'onnx/model_q4.onnx'), onnx);
  await expect(loadTransformer(folder, {tokenizer: false})).rejects.toThrow('model_q4.onnx.data');
  writeFileSync(join(folder, 'onnx/model_q4.onnx.data'), data);
  const {model} = await loadTransformer(folder, {tokenizer: false});
  const floatModel = await load(safetensors);
  expect(model.layers.filter(layer => layer instanceof QuantizedDense)).toHaveLength(8);
  expect(logitsOf(model)).toBeAllClose(logitsOf(floatModel), {rtol: 1e-5, atol: 1e-5});
  await expect(load(onnx)).rejects.toThrow('Pass the address of the ONNX file');
  const elsewhere = Buffer.from(onnx.slice()).toString('latin1').replaceAll('model_q4.onnx.data', '../../q4.onnx.data');
  writeFileSync(join(folder, 'onnx/model_q4.onnx'), elsewhere, 'latin1');
  await expect(loadTransformer(folder, {tokenizer: false})).rejects.toMatchObject({code: 'ERR_NOT_FOUND'});
  const gemma = {...CONFIG, model_type: 'gemma', architectures: ['GemmaForCausalLM']};
  const built = onnxFile({
    nodes: [{op: 'SimplifiedLayerNormalization', inputs: ['x', 'w'], outputs: ['y']}],
    ...{inputs: [value('x', [null, 32])], outputs: [value('y', [null, 32])]},
  });
  await expect(loadTransformer({config: gemma, weights: built, tokenizer: false})).rejects.toThrow(
    'to which 1 is added, as the model builder writes them',
  );
  [model, floatModel].forEach(disposeModel);
});

test('the bytes of blocks count as such against the memory of the backend', async () => {
  await useBackend('wasm');
  const floatBytes = 4 * Object.values(MATRICES).reduce((sum, [units, width]) => sum + units * width, 0);
  const others = 4 * (16 * 32 + 3 * 32);
  const inBlocks = (floatBytes / 4 / 32) * 18 + others;
  for (const [mostBytes, fits] of [
    [inBlocks, true],
    [inBlocks - 1, false],
  ] as const) {
    supplyCapabilities('wasm', () => ({...wasmCapabilities(), mostBytes}));
    const loading = load(files(2 ** -5).onnx);
    await (fits ? loading.then(disposeModel) : expect(loading).rejects.toThrow('in blocks and as float32'));
  }
  supplyCapabilities('wasm', wasmCapabilities);
});
