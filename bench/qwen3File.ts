import {closeSync, openSync, writeSync} from 'node:fs';
import {builtGGUF} from '../test/extensions/language/ggufFiles';

/** The shapes of Qwen3, by their billions of parameters. */
export const SHAPES = {
  '0.6': {layers: 28, width: 1024, heads: 16, wide: 3072},
  '1.7': {layers: 28, width: 2048, heads: 16, wide: 6144},
  '4': {layers: 36, width: 2560, heads: 32, wide: 9728},
} as const;
const VOCABULARY = 151_936;
const [KEY_HEADS, HEAD_SIZE, ALIGNMENT] = [8, 128, 32];

/** A block of each format: its type in files, values, bytes, and where it has a scale, in half precision. */
const BLOCK = {
  q4: {type: 2, values: 32, bytes: 18, scaleAt: 0, scale: 0x1c00}, // 2⁻⁸
  q6: {type: 14, values: 256, bytes: 210, scaleAt: 208, scale: 0x0100}, // 2⁻¹⁶
  ones: {type: 0, values: 1, bytes: 4, scaleAt: 0, scale: 0},
};
type Format = keyof typeof BLOCK;

interface Tensor {
  name: string;
  shape: readonly number[];
  format: Format;
}

function tensorsOf({layers, width, heads, wide}: (typeof SHAPES)[keyof typeof SHAPES]): Tensor[] {
  const blocks = (name: string, rows: number, columns: number, format: Format = 'q4') => ({
    ...{name: `${name}.weight`, shape: [rows, columns], format},
  });
  const ones = (name: string, size: number): Tensor => ({name: `${name}.weight`, shape: [size], format: 'ones'});
  const block = (i: number) => [
    ones(`blk.${i}.attn_norm`, width),
    blocks(`blk.${i}.attn_q`, heads * HEAD_SIZE, width),
    blocks(`blk.${i}.attn_k`, KEY_HEADS * HEAD_SIZE, width),
    blocks(`blk.${i}.attn_v`, KEY_HEADS * HEAD_SIZE, width),
    ones(`blk.${i}.attn_q_norm`, HEAD_SIZE),
    ones(`blk.${i}.attn_k_norm`, HEAD_SIZE),
    blocks(`blk.${i}.attn_output`, width, heads * HEAD_SIZE),
    ones(`blk.${i}.ffn_norm`, width),
    blocks(`blk.${i}.ffn_gate`, wide, width),
    blocks(`blk.${i}.ffn_up`, wide, width),
    blocks(`blk.${i}.ffn_down`, width, wide),
  ];
  return [
    blocks('token_embd', VOCABULARY, width, 'q6'),
    ...Array.from({length: layers}, (_, i) => block(i)).flat(),
    ones('output_norm', width),
  ];
}

/**
 * Writes a GGUF file of a shape of Qwen3 with random blocks, Q4_0 with a vocabulary in Q6_K as llama.cpp writes it.
 * Values are drawn as wide as those of a trained model, so that nothing overflows.
 */
export function writeRandomQwen3(path: string, size: keyof typeof SHAPES): void {
  const {layers, width, heads, wide} = SHAPES[size];
  const tensors = tensorsOf(SHAPES[size]);
  const settings = {
    ...{block_count: layers, embedding_length: width, feed_forward_length: wide, context_length: 40_960},
    ...{'attention.head_count': heads, 'attention.head_count_kv': KEY_HEADS},
    ...{'attention.key_length': HEAD_SIZE, 'attention.value_length': HEAD_SIZE},
    'attention.layer_norm_rms_epsilon': {float32: 1e-6},
    'rope.freq_base': {float32: 1e6},
  };
  const bytesOf = ({shape, format}: Tensor) => {
    const {values, bytes} = BLOCK[format];
    return (shape.reduce((product, axis) => product * axis, 1) / values) * bytes;
  };
  const header = builtGGUF({
    pairs: {
      'general.architecture': 'qwen3',
      ...Object.fromEntries(Object.entries(settings).map(([name, value]) => [`qwen3.${name}`, value])),
    },
    tensors: tensors.map(tensor => ({...tensor, type: BLOCK[tensor.format].type, bytes: bytesOf(tensor)})),
  });
  let state = 1;
  const draw = (data: Uint8Array) => {
    const words = new Uint32Array(data.buffer, 0, data.length >> 2);
    for (let i = 0; i < words.length; i++) {
      words[i] = state = (Math.imul(state, 1_664_525) + 1_013_904_223) ^ (state >>> 15);
    }
  };
  const file = openSync(path, 'w');
  try {
    let end = Math.ceil(header.length / ALIGNMENT) * ALIGNMENT;
    writeSync(file, header, 0, header.length, 0);
    for (const tensor of tensors) {
      const data = new Uint8Array(bytesOf(tensor));
      const {bytes, scaleAt, scale} = BLOCK[tensor.format];
      if (tensor.format === 'ones') {
        new Float32Array(data.buffer).fill(1);
      } else {
        draw(data);
        for (let at = scaleAt; at < data.length; at += bytes) {
          [data[at], data[at + 1]] = [scale & 255, scale >> 8];
        }
      }
      writeSync(file, data, 0, data.length, end);
      end += Math.ceil(data.length / ALIGNMENT) * ALIGNMENT;
    }
  } finally {
    closeSync(file);
  }
}
