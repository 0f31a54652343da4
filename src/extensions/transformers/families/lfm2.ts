import {show} from '../../../platform/errors';
import {type Architecture, nameOf} from '../net/architecture';
import {decoderHead} from './decoderHead';
import type {HubConfig} from '../net/hubConfig';
import {rotaryOf} from './llamaRotary';
import {ShortConvolution} from '../layers/shortConvolution';
import {ShownPositions} from '../layers/shownPositions';
import type {NetTensor} from '../net/net';

const DEFAULTS = {
  block_auto_adjust_ff_dim: true,
  conv_L_cache: 3,
  max_position_embeddings: 128_000,
  num_key_value_heads: 8,
  pad_token_id: 0,
};

/**
 * LFM2: most blocks have a short convolution between two gates, and some have grouped-query attention with normalized
 * heads and rotary positions. (Liquid AI, LFM2 Technical Report, 2025.)
 */
export const lfm2: Architecture = {
  prefix: 'model',
  classes: {Lfm2Model: 'none', Lfm2ForCausalLM: 'tokens'},
  commonNames: {tie_word_embeddings: 'tie_embedding'},
  blocks: config => config.count('num_hidden_layers'),
  vocabulary: config => config.count('vocab_size'),
  positions: config => config.withDefaults(DEFAULTS).count('max_position_embeddings'),
  build: (net, fileConfig, {ids, mask}, purpose) => {
    const config = fileConfig.withDefaults(DEFAULTS);
    config.count('max_position_embeddings');
    const width = config.count('hidden_size');
    const heads = config.count('num_attention_heads');
    const keyValueHeads = config.count('num_key_value_heads');
    const size = config.count('head_dim', Math.floor(width / heads));
    const inner = innerWidth(config);
    const epsilon = config.number('norm_eps', 1e-5);
    const bias = config.flag('conv_bias', false);
    const taps = config.count('conv_L_cache');
    const causal = config.flag('is_causal', true);
    config.expect('number_of_conv_states', 1);
    const rotary = rotaryOf(config, {size, isPlan: net.isPlan}, 1_000_000);
    config.expectMultiple(['num_attention_heads', heads], ['num_key_value_heads', keyValueHeads]);
    const count = config.count('num_hidden_layers');
    const attends = attendingBlocks(config, count);
    if (!attends.includes(true)) {
      config.fault('At least one block must have attention.');
    }
    const norm = (name: string, x: NetTensor) => net.rmsNorm(name, width, epsilon, [x]);
    const linear = (name: string, from: number, to: number, x: NetTensor, bias = false) =>
      net.dense(name, [from, to], x, {bias});
    const root = purpose.head === 'none' ? '' : 'model';
    const tokenEmbedding = nameOf(root, 'embed_tokens');
    const vocabulary = config.count('vocab_size');
    let x = net.embedding(tokenEmbedding, vocabulary, width, ids);
    x = net.blocks(nameOf(root, 'layers'), count, [x, mask], (layer, [input = null, seen = null], i) => {
      const first = norm(nameOf(layer, 'operator_norm'), input);
      const attended = () => {
        const self = nameOf(layer, 'self_attn');
        const project = (name: string, number: number) => linear(nameOf(self, name), width, number * size, first);
        const normed = (name: string, x: NetTensor) => net.headNorm(nameOf(self, name), size, epsilon, x);
        const q = normed('q_layernorm', project('q_proj', heads));
        const k = normed('k_layernorm', project('k_proj', keyValueHeads));
        const inputs = [q, k, project('v_proj', keyValueHeads), seen];
        const y = net.attention(self, inputs, {heads, keyValueHeads, causal, rotary});
        return linear(nameOf(self, 'out_proj'), heads * size, width, y);
      };
      const convolved = () => {
        const conv = nameOf(layer, 'conv');
        const name = nameOf(conv, 'conv');
        // With biases, masked positions have gates and values too, which later positions read.
        const shown = nameOf(conv, 'shown');
        const states = bias ? net.apply(shown, [first, seen], () => new ShownPositions({name: shown})) : first;
        const packed = linear(nameOf(conv, 'in_proj'), width, 3 * width, states, bias);
        net.expect(name, 'weight', [width, 1, taps], 'kernel', {axes: [2, 1, 0]});
        if (bias) {
          net.expect(name, 'bias', [width], 'bias');
        }
        const y = net.apply(name, [packed, seen], () => {
          return new ShortConvolution({taps, useBias: bias, hides: !bias, name});
        });
        return linear(nameOf(conv, 'out_proj'), width, width, y, bias);
      };
      const middle = net.add(nameOf(layer, 'operator/sum'), [attends[i] === true ? attended() : convolved(), input]);
      const wide = nameOf(layer, 'feed_forward');
      const second = norm(nameOf(layer, 'ffn_norm'), middle);
      const up = ['w1', 'w3'].map(name => linear(nameOf(wide, name), width, inner, second));
      const narrow = linear(nameOf(wide, 'w2'), inner, width, net.gate(nameOf(wide, 'act_fn'), 'silu', up));
      return net.add(nameOf(wide, 'sum'), [narrow, middle]);
    });
    x = norm(nameOf(root, 'embedding_norm'), x);
    const sizes = {width, vocabulary, tokenEmbedding, isTied: true, tokenHead: ''};
    return decoderHead(net, config, {states: x, ids, mask}, {...purpose, ...sizes});
  },
};

/** The width of the feed-forward part: as configured, or two thirds of that, rounded up. */
function innerWidth(config: HubConfig): number {
  const inner = config.count('block_ff_dim', config.count('intermediate_size'));
  const factor = config.number('block_ffn_dim_multiplier', 1);
  const step = config.count('block_multiple_of', 256);
  return config.flag('block_auto_adjust_ff_dim', true)
    ? step * Math.ceil(Math.floor(factor * Math.floor((2 * inner) / 3)) / step)
    : inner;
}

/** Which blocks have attention: by `layer_types`, or by the indices in `full_attn_idxs`; by default all. */
function attendingBlocks(config: HubConfig, count: number): boolean[] {
  const types = config.get('layer_types') ?? null;
  const indices = config.get('full_attn_idxs') ?? null;
  if (indices !== null && !(Array.isArray(indices) && indices.every(Number.isInteger))) {
    config.fault(`full_attn_idxs must list the indices of blocks with attention, got ${show(indices)}.`);
  }
  if (types === null) {
    return Array.from({length: count}, (_, i) => !Array.isArray(indices) || indices.includes(i));
  }
  if (
    !Array.isArray(types) ||
    types.length !== count ||
    types.some(type => type !== 'full_attention' && type !== 'conv')
  ) {
    config.fault(`layer_types must list full_attention or conv for each of ${count} blocks, got ${show(types)}.`);
    return [];
  }
  return types.map(type => type === 'full_attention');
}
