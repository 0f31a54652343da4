import {HUB_ACTIVATIONS, type Architecture, nameOf} from '../net/architecture';
import {decoderHead} from './decoderHead';
import type {NetTensor} from '../net/net';
import {plainBlock} from './plainBlock';

const MODULES = {
  attention: 'attn',
  attended: 'attn/c_proj',
  norms: ['ln_1', 'ln_2'],
  feedForward: 'mlp',
  wide: 'mlp/c_fc',
  activation: 'mlp/act',
  narrow: 'mlp/c_proj',
} as const;

/**
 * GPT-2: normalizations before each part, learned positions, and one layer for queries, keys and values. (Radford et
 * al., 2019.)
 */
export const gpt2: Architecture = {
  prefix: 'transformer',
  classes: {
    GPT2Model: 'none',
    GPT2LMHeadModel: 'tokens',
    GPT2ForSequenceClassification: 'classes',
    GPT2ForTokenClassification: 'tokenClasses',
    GPT2ForQuestionAnswering: 'spans',
  },
  commonNames: {
    n_embd: 'hidden_size',
    n_head: 'num_attention_heads',
    n_layer: 'num_hidden_layers',
    n_positions: 'max_position_embeddings',
  },
  blocks: config => config.count('n_layer'),
  vocabulary: config => config.count('vocab_size'),
  positions: config => config.count('n_positions', 1024),
  build: (net, config, {ids, mask}, purpose) => {
    const width = config.count('n_embd');
    const heads = config.count('n_head');
    const inner = config.countOr('n_inner', 4 * width);
    const epsilon = config.number('layer_norm_epsilon', 1e-5);
    const activation = config.choice('activation_function', HUB_ACTIVATIONS, 'gelu_new');
    const causal = config.flag('is_causal', true);
    const scale = config.flag('scale_attn_weights', true) ? 1 / Math.sqrt(width / heads) : 1;
    const scalesByBlock = config.flag('scale_attn_by_inverse_layer_idx', false);
    config.expect('add_cross_attention', false);
    if (width % heads !== 0) {
      config.fault(`n_embd must be a multiple of n_head (${heads}), got ${width}.`);
    }
    const root = purpose.head === 'none' ? '' : 'transformer';
    const tokenEmbedding = nameOf(root, 'wte');
    const vocabulary = config.count('vocab_size');
    let x = net.embedding(tokenEmbedding, vocabulary, width, ids);
    x = net.positions(nameOf(root, 'wpe'), {rows: config.count('n_positions', 1024), width}, [x]);
    const stored = {conv1d: true};
    const count = config.count('n_layer');
    for (let i = 0; i < count; i++) {
      const layer = nameOf(root, 'h', i);
      x = net.block({name: `${layer}/block`, index: i, count}, [x, mask], ([input = null, seen = null]) => {
        const attend = (first: NetTensor) => {
          const packed = net.dense(nameOf(layer, 'attn/c_attn'), [width, 3 * width], first, stored);
          const settings = {heads, causal, packed: true, scale: scalesByBlock ? scale / (i + 1) : scale};
          return net.attention(nameOf(layer, 'attn'), [packed, seen], settings);
        };
        const sizes = {width, inner, epsilon, activation};
        return plainBlock(net, layer, {...sizes, modules: MODULES, order: 'before', stored, attend}, input);
      });
    }
    x = net.layerNorm(nameOf(root, 'ln_f'), width, epsilon, [x]);
    return decoderHead(
      net,
      config,
      {states: x, ids, mask},
      {
        ...purpose,
        ...{width, vocabulary, tokenEmbedding},
        isTied: true,
        tokenHead: 'classifier',
      },
    );
  },
};
