import {
  type Architecture,
  classesOf,
  ENCODER_ENDS,
  type GateName,
  HUB_ACTIVATIONS,
  HUB_GATES,
  nameOf,
} from '../net/architecture';
import {windowedBlocks} from './layerTypes';
import {rotariesOf} from './llamaRotary';
import type {NetTensor} from '../net/net';
import {pooledStates} from './pooling';

const POOLINGS = {cls: 'first', mean: 'mean'} as const;
/**
 * ModernBERT: rotary positions, normalizations before each part, gated feed-forward, and windows to both sides in two
 * of three blocks. (Warner et al., arXiv 2412.13663.)
 */
export const modernbert: Architecture = {
  prefix: 'model',
  classes: classesOf('ModernBert', ENCODER_ENDS),
  blocks: config => config.count('num_hidden_layers'),
  vocabulary: config => config.count('vocab_size'),
  positions: config => config.count('max_position_embeddings', 8192),
  build: (net, fileConfig, {ids, mask}, {head, pooling, labels, isNew}) => {
    const config = fileConfig.withDefaults({max_position_embeddings: 8192});
    config.count('max_position_embeddings');
    if (config.get('pad_token_id') !== null) {
      config.index('pad_token_id', {otherwise: 50_283, below: 'vocab_size'});
    }
    const width = config.count('hidden_size');
    const heads = config.count('num_attention_heads');
    const inner = config.count('intermediate_size');
    const epsilon = config.number('norm_eps', 1e-5);
    const activation = config.choice<GateName>('hidden_activation', HUB_GATES, 'gelu');
    const ofAttention = {bias: config.flag('attention_bias', false)};
    const ofGates = {bias: config.flag('mlp_bias', false)};
    const ofNorm = {bias: config.flag('norm_bias', false)};
    const ofHead = {bias: config.flag('classifier_bias', false)};
    const deviation = config.number('initializer_range', 0.02, 1);
    config.expectMultiple(['hidden_size', width], ['num_attention_heads', heads]);
    const count = config.count('num_hidden_layers');
    const every = config.count('global_attn_every_n_layers', 3);
    const windowed = windowedBlocks(config, count, i => i % every !== 0);
    const local = Math.floor(config.count('local_attention', 128) / 2);
    const window = 1 + (config.get('sliding_window') === undefined ? local : config.nonNegative('sliding_window'));
    config.expect('head_dim', width / heads);
    config.expect('is_causal', false, null);
    const mode = config.choice<'first' | 'mean'>('classifier_pooling', POOLINGS, 'cls');
    const kinds = {
      full_attention: {theta: 'global_rope_theta', otherwise: 160_000},
      sliding_attention: {theta: 'local_rope_theta', otherwise: 10_000},
    };
    const sizes = {size: width / heads, isPlan: net.isPlan};
    const rotaries = rotariesOf(config, sizes, kinds, Object.keys(kinds));
    const norm = (name: string, x: NetTensor) => net.layerNorm(name, width, epsilon, [x], ofNorm);
    const root = head === 'none' ? '' : 'model';
    const tokenEmbedding = nameOf(root, 'embeddings/tok_embeddings');
    const vocabulary = config.count('vocab_size');
    let x = norm(nameOf(root, 'embeddings/norm'), net.embedding(tokenEmbedding, vocabulary, width, ids));
    x = net.blocks(nameOf(root, 'layers'), count, [x, mask], (layer, [input = null, seen = null], i) => {
      const seesAll = windowed[i] !== true;
      const first = i === 0 ? input : norm(nameOf(layer, 'attn_norm'), input);
      const packed = net.dense(nameOf(layer, 'attn/Wqkv'), [width, 3 * width], first, ofAttention);
      const rotary = seesAll ? rotaries.full : rotaries.windowed;
      const settings = {heads, packed: true, rotary, window: seesAll ? null : window};
      const attended = net.attention(nameOf(layer, 'attn'), [packed, seen], settings);
      const projected = net.dense(nameOf(layer, 'attn/Wo'), [width, width], attended, ofAttention);
      const middle = net.add(nameOf(layer, 'attn/sum'), [input, projected]);
      const second = norm(nameOf(layer, 'mlp_norm'), middle);
      const wide = net.dense(nameOf(layer, 'mlp/Wi'), [width, 2 * inner], second, ofGates);
      const gated = net.gate(nameOf(layer, 'mlp/act'), activation, [wide]);
      const narrow = net.dense(nameOf(layer, 'mlp/Wo'), [inner, width], gated, ofGates);
      return net.add(nameOf(layer, 'mlp/sum'), [middle, narrow]);
    });
    x = norm(nameOf(root, 'final_norm'), x);
    if (head === 'none') {
      return pooledStates(net, config, pooling, [x, mask]);
    }
    if (head === 'classes' || head === 'choices') {
      // A choice is represented by its first unmasked token, a text by its first token.
      x = net.pool('head/pool', mode, mode === 'first' && head === 'classes' ? [x] : [x, mask]);
    }
    // A new head starts from these if the files have them, as those of a model for masked tokens do.
    const isFresh = isNew && !net.hasLinear('head/dense');
    const start = isFresh ? {fresh: deviation / Math.sqrt(2 * count)} : {};
    const dense = net.dense('head/dense', [width, width], x, {...ofHead, ...start});
    const active = net.activation('head/act', config.choice('classifier_activation', HUB_ACTIVATIONS, 'gelu'), dense);
    x = net.layerNorm('head/norm', width, epsilon, [active], {...ofNorm, fresh: isFresh});
    if (head !== 'tokens') {
      return net.dense('classifier', [width, labels], x, isNew ? {fresh: width ** -0.5} : {});
    }
    const bias = config.flag('decoder_bias', true);
    return config.flag('tie_word_embeddings', true)
      ? net.tied('decoder', tokenEmbedding, [width, vocabulary], x, {bias})
      : net.dense('decoder', [width, vocabulary], x, {bias});
  },
};
