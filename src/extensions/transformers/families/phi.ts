import {HUB_ACTIVATIONS, nameOf} from '../net/architecture';
import type {NetTensor} from '../net/net';
import {partialRotary} from './partialRotary';
import {plainDecoder} from './plainDecoder';
import {decoderClasses} from './rotaryDecoder';

/**
 * Phi-1, 1.5 and 2: parallel parts with one normalization, rotary positions for a part of each head, biases everywhere.
 * (Li et al., arXiv 2309.05463.)
 */
export const phi = plainDecoder({
  prefix: 'model',
  classes: decoderClasses('Phi', ['Model', 'ForCausalLM', 'ForSequenceClassification', 'ForTokenClassification']),
  modules: {
    ...{embedding: 'embed_tokens', blocks: 'layers', norm: 'final_layernorm'},
    block: {
      attention: 'self_attn',
      attended: 'self_attn/dense',
      norms: ['input_layernorm', 'input_layernorm'],
      feedForward: 'mlp',
      wide: 'mlp/fc1',
      activation: 'mlp/activation_fn',
      narrow: 'mlp/fc2',
    },
  },
  longest: 2048,
  head: {isTied: false, tokenHead: 'score', bias: true},
  read: (config, {width, heads, size, isPlan}) => {
    const keyValueHeads = config.countOr('num_key_value_heads', heads);
    const epsilon = config.number('layer_norm_eps', 1e-5);
    const normalizes = config.flag('qk_layernorm', false);
    const share = {field: 'partial_rotary_factor', usual: 0.5};
    config.expect('head_dim', size);
    config.expectMultiple(['num_attention_heads', heads], ['num_key_value_heads', keyValueHeads]);
    return {
      inner: config.count('intermediate_size'),
      epsilon,
      activation: config.choice('hidden_act', HUB_ACTIVATIONS, 'gelu_new'),
      order: 'parallel',
      stored: {},
      attention: {keyValueHeads, rotary: partialRotary(config, {size, isPlan}, {share, even: true})},
      project: (net, self, x) => {
        const dense = (name: string, count: number) => net.dense(nameOf(self, name), [width, count * size], x);
        const normed = (name: string, x: NetTensor) =>
          normalizes ? net.layerNorm(nameOf(self, name), size, epsilon, [x], {eachHead: true}) : x;
        const q = normed('q_layernorm', dense('q_proj', heads));
        const k = normed('k_layernorm', dense('k_proj', keyValueHeads));
        return [q, k, dense('v_proj', keyValueHeads)];
      },
    };
  },
});
