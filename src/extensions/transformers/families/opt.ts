import {HUB_ACTIVATIONS, type Architecture, nameOf} from '../net/architecture';
import {decoderHead} from './decoderHead';
import type {NetTensor} from '../net/net';
import {plainBlock} from './plainBlock';

const MODULES = {
  attention: 'self_attn',
  attended: 'self_attn/out_proj',
  norms: ['self_attn_layer_norm', 'final_layer_norm'],
  feedForward: 'mlp',
  wide: 'fc1',
  activation: 'activation_fn',
  narrow: 'fc2',
} as const;

/** Rows of the position embedding before that of the first token. */
const OFFSET = 2;

/**
 * OPT: learned positions, which skip padding, and in one size narrower token embeddings. (Zhang et al., arXiv
 * 2205.01068.)
 */
export const opt: Architecture = {
  prefix: 'model.decoder',
  renamed: name => name.replace(/^decoder\./, ''),
  classes: {
    OPTModel: 'none',
    OPTForCausalLM: 'tokens',
    OPTForSequenceClassification: 'classes',
    OPTForQuestionAnswering: 'spans',
  },
  commonNames: {},
  blocks: config => config.count('num_hidden_layers'),
  vocabulary: config => config.count('vocab_size'),
  positions: config => config.count('max_position_embeddings', 2048),
  build: (net, given, {ids, mask}, purpose) => {
    const config = given.withDefaults({pad_token_id: 1});
    const width = config.count('hidden_size');
    const tableWidth = config.countOr('word_embed_proj_dim', width);
    const heads = config.count('num_attention_heads');
    const stored = {bias: config.flag('enable_bias', true)};
    const isBefore = config.flag('do_layer_norm_before', true);
    const sizes = {
      width,
      inner: config.count('ffn_dim'),
      epsilon: 1e-5,
      activation: config.choice('activation_function', HUB_ACTIVATIONS, 'relu'),
      order: isBefore ? ('before' as const) : ('after' as const),
      stored,
    };
    const causal = config.flag('is_causal', true);
    const hasNorm = isBefore && !config.flag('_remove_final_layer_norm', false);
    config.expect('layer_norm_elementwise_affine', true);
    if (config.get('pad_token_id') !== null) {
      config.index('pad_token_id', {below: 'vocab_size'});
    }
    if (width % heads !== 0) {
      config.fault(`hidden_size must be a multiple of num_attention_heads (${heads}), got ${width}.`);
    }
    const root = purpose.head === 'none' ? 'decoder' : 'model/decoder';
    const tokenEmbedding = nameOf(root, 'embed_tokens');
    const vocabulary = config.count('vocab_size');
    let x = net.embedding(tokenEmbedding, vocabulary, tableWidth, ids);
    if (tableWidth !== width) {
      x = net.dense(nameOf(root, 'project_in'), [tableWidth, width], x, {bias: false});
    }
    const rows = config.count('max_position_embeddings', 2048) + OFFSET;
    // The mask tells which positions count, as tokens do elsewhere.
    x = net.positions(nameOf(root, 'embed_positions'), {rows, width, padding: 0, offset: OFFSET}, [x, mask]);
    const count = config.count('num_hidden_layers');
    for (let i = 0; i < count; i++) {
      const layer = nameOf(root, 'layers', i);
      x = net.block({name: `${layer}/block`, index: i, count}, [x, mask], ([input = null, seen = null]) => {
        const self = nameOf(layer, 'self_attn');
        const attend = (first: NetTensor) => {
          const parts = ['q_proj', 'k_proj', 'v_proj'].map(name =>
            net.dense(nameOf(self, name), [width, width], first, stored),
          );
          return net.attention(self, [...parts, seen], {heads, causal});
        };
        return plainBlock(net, layer, {...sizes, modules: MODULES, attend}, input);
      });
    }
    if (hasNorm) {
      x = net.layerNorm(nameOf(root, 'final_layer_norm'), width, sizes.epsilon, [x]);
    }
    if (tableWidth !== width) {
      x = net.dense(nameOf(root, 'project_out'), [width, tableWidth], x, {bias: false});
    }
    return decoderHead(
      net,
      config,
      {states: x, ids, mask},
      {...purpose, ...{width: tableWidth, vocabulary, tokenEmbedding}, isTied: true, tokenHead: 'score'},
    );
  },
};
