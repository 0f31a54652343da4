import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel} from '../../../src/index';
import {loadTransformer} from '../../../src/transformers';
import {QuantizedDense} from '../../../src/extensions/quantized/layers/quantizedDense';
import {field} from '../../../src/extensions/onnx/file/protobuf';
import {encodeSafetensors, type NamedValues} from '../../../src/platform/formats/encodeSafetensors';
import {numbers, useBackend} from '../../helpers';
import {floats, int, type Message, type NodeEntry, onnxFile, value} from '../onnx/files';

beforeAll(() => useBackend('cpu'));

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
  const [model, floatModel] = [await load(onnx), await load(safetensors)];
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
