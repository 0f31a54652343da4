import * as tf from '@tensorflow/tfjs';
import {disposeModel} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {builtGGUF} from './ggufFiles';

/** Tokens and width: a table of 32 MB, beside which the blocks are small. */
const [VOCABULARY, WIDTH] = [2 ** 18, 32];

test('the memory of wasm does not hold a table twice while a model is loaded', async () => {
  const width = ['attn_norm', 'ffn_norm'].map(name => [name, WIDTH] as const);
  const square = ['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down'].map(
    name => [name, WIDTH, WIDTH] as const,
  );
  const inBlock = [...width, ...square].map(([name, ...shape]) => [`blk.0.${name}.weight`, ...shape] as const);
  const all = [['token_embd.weight', VOCABULARY, WIDTH] as const, ['output_norm.weight', WIDTH] as const, ...inBlock];
  const tensors = all.map(([name, ...shape]) => {
    const data = new Float32Array(tf.util.sizeFromShape(shape)).fill(0.1);
    return {name, shape, type: 0, data};
  });
  const settings = {
    ...{context_length: 64, embedding_length: WIDTH, block_count: 1, feed_forward_length: WIDTH},
    ...{'attention.head_count': 2, 'attention.layer_norm_rms_epsilon': {float32: 1e-5}},
  };
  const entries = Object.entries(settings).map(([name, value]) => [`llama.${name}`, value] as const);
  const file = builtGGUF({pairs: {'general.architecture': 'llama', ...Object.fromEntries(entries)}, tensors});
  const {model} = await loadGGUF(file, {tokenizer: false});
  const {buffer} = (tf.backend() as unknown as {wasm: {HEAPU8: Uint8Array}}).wasm.HEAPU8;
  expect(tf.memory().numBytes).toBeGreaterThan(file.length - 10_000);
  expect(buffer.byteLength).toBeLessThan(1.4 * file.length);
  disposeModel(model);
});
