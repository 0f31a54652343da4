// Tiny language models that `toONNX` writes with a cache, for `npm run check -- lastmile`.

import {mkdirSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {Tokenizer} from '@huggingface/tokenizers';
import type * as tf from '@tensorflow/tfjs';
import {type NewONNXOptions, toONNX} from '../../../src/onnx';
import {loadTransformer} from '../../../src/transformers';
import type {Tokenizer as LanguageTokenizer} from '../../../src/extensions/transformers/load/tokenizer';
import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';
import {type ConfigCase, configsOf, weightsOf} from '../transformers/configs';
import {wordTokenizer} from '../transformers/fixtures';

export interface Decoder {
  model: tf.LayersModel;
  tokenizer: LanguageTokenizer;
}

/** A prompt and 64 tokens fit. */
export const POSITIONS = 96;

/** What `loadTransformer` makes a tokenizer of, whose words are `w0`, `w1`, …: one for each token. */
export function tokenizerOf(vocabulary: number) {
  const words = Array.from({length: vocabulary}, (_, i) => `w${i}`);
  const tokenizerJson = wordTokenizer(words);
  tokenizerJson.model.unk_token = 'w0';
  const named = {unk_token: 'w0', pad_token: 'w0'};
  return {Tokenizer, tokenizerJson, tokenizerConfig: {tokenizer_class: 'PreTrainedTokenizer', ...named}};
}

/** Writes the folder of a model. @returns the path of its graph in it. */
export async function writeFolder(out: string, model: tf.LayersModel, options: NewONNXOptions = {}): Promise<string> {
  const files = await toONNX(model, {...options, folder: true});
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(out, path)), {recursive: true});
    writeFileSync(join(out, path), content);
  }
  return Object.keys(files).find(path => path.endsWith('.onnx'))!;
}

/** A decoder like Llama whose matrices have rows of whole blocks. */
export function blockDecoder(changed: object, dtype: 'F32' | 'F16' = 'F32') {
  const config = {
    ...{model_type: 'llama', architectures: ['LlamaForCausalLM'], hidden_size: 64, num_hidden_layers: 2},
    ...{num_attention_heads: 4, num_key_value_heads: 2, intermediate_size: 96, vocab_size: 70},
    ...{max_position_embeddings: POSITIONS, tie_word_embeddings: true, ...changed},
  };
  let state = 1;
  const tensor = (shape: number[]) => ({
    shape,
    data: Float32Array.from({length: shape.reduce((a, b) => a * b)}, () => {
      state = (state * 48271) % 2147483647;
      return state / 2147483647 - 0.5;
    }),
  });
  const layer = (i: number) => ({
    [`model.layers.${i}.input_layernorm.weight`]: tensor([64]),
    [`model.layers.${i}.post_attention_layernorm.weight`]: tensor([64]),
    [`model.layers.${i}.self_attn.q_proj.weight`]: tensor([64, 64]),
    [`model.layers.${i}.self_attn.k_proj.weight`]: tensor([32, 64]),
    [`model.layers.${i}.self_attn.v_proj.weight`]: tensor([32, 64]),
    [`model.layers.${i}.self_attn.o_proj.weight`]: tensor([64, 64]),
    [`model.layers.${i}.mlp.gate_proj.weight`]: tensor([96, 64]),
    [`model.layers.${i}.mlp.up_proj.weight`]: tensor([96, 64]),
    [`model.layers.${i}.mlp.down_proj.weight`]: tensor([64, 96]),
  });
  const ends = {'model.embed_tokens.weight': tensor([70, 64]), 'model.norm.weight': tensor([64])};
  return {config, weights: encodeSafetensors({...layer(0), ...layer(1), ...ends}, {dtype})};
}

/** What programs for ONNX Runtime begin with: the cache before a text, and what is in it after a pass. */
export const CACHES = `
import ort from 'onnxruntime-node';
const empty = (shape, batch) => {
  const dims = shape.map(size => size === 'batch_size' ? batch : typeof size === 'number' ? size : 0);
  return new ort.Tensor('float32', new Float32Array(dims.reduce((a, b) => a * b)), dims);
};
const presentOf = name => name.replace(/^past(_key_values)?/, 'present');
`;

export const FAMILIES = [
  ...[
    'gemma',
    'gemma2',
    'gemma3_text',
    'gpt2',
    'gpt_neox',
    'granite',
    'lfm2',
    'llama',
    'mistral',
    'olmo2',
    'olmo3',
    'opt',
  ],
  ...['phi', 'phi3', 'qwen2', 'qwen3', 'smollm3'],
];

/** The language models among the random configs of a family, with heads of 8 values, which the operation needs. */
export function* wideCases(family: string): Generator<ConfigCase> {
  for (const drawn of configsOf(family).cases) {
    const {n_embd, n_head, num_attention_heads: heads = n_head} = drawn.config as Record<string, number>;
    const width = 8 * heads!;
    const isLanguageModel = /CausalLM|LMHead/.test(drawn.architecture) && drawn.config.is_causal !== false;
    if (isLanguageModel && drawn.values !== null) {
      const {head_dim, word_embed_proj_dim} = drawn.config as Record<string, number>;
      const config = {
        ...drawn.config,
        ...(n_embd === undefined ? {hidden_size: width} : {n_embd: width}),
        ...(head_dim != null && {head_dim: 8}),
        ...(word_embed_proj_dim != null && {word_embed_proj_dim: width}),
        ...(n_embd === undefined ? {max_position_embeddings: POSITIONS} : {n_positions: POSITIONS}),
        eos_token_id: null,
      };
      yield {...drawn, config};
    }
  }
}

/** The model of a case, whose tensors get the shapes of its config: errors state some of them at a time. */
export async function wideModel(drawn: ConfigCase): Promise<Decoder> {
  const {config, architecture} = drawn;
  let {tensors} = drawn;
  for (;;) {
    try {
      const weights = weightsOf({...drawn, tensors});
      const tokens = tokenizerOf(Number(config.vocab_size));
      return await loadTransformer({config: JSON.stringify(config), weights, architecture, ...tokens});
    } catch (error) {
      const shapes = new Map(
        [...(error as Error).message.matchAll(/(\S+): shape \[[^\]]*\] in the file, \[([^\]]*)\] by the config/g)].map(
          ([, name, sizes]) => [name, sizes!.split(',').map(Number)] as const,
        ),
      );
      if (shapes.size === 0) {
        throw error;
      }
      tensors = tensors.map(({name, shape}) => ({name, shape: shapes.get(name) ?? shape}));
    }
  }
}
