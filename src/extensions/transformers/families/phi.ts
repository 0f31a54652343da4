import {HUB_ACTIVATIONS, type Architecture, nameOf} from '../net/architecture';
import {decoderHead} from './decoderHead';
import type {NetTensor} from '../net/net';
import {partialRotary} from './partialRotary';
import {plainBlock} from './plainBlock';
import {decoderClasses} from './rotaryDecoder';

const MODULES = {
  attention: 'self_attn',
  attended: 'self_attn/dense',
  norms: ['input_layernorm', 'input_layernorm'],
  feedForward: 'mlp',
  wide: 'mlp/fc1',
  activation: 'mlp/activation_fn',
  narrow: 'mlp/fc2',
} as const;

/**
 * Phi-1, 1.5 and 2: parallel parts with one normalization, rotary positions for a part of each head, biases everywhere.
 * (Li et al., arXiv 2309.05463.)
 */
export const phi: Architecture = {
  prefix: 'model',
  classes: decoderClasses('Phi', ['Model', 'ForCausalLM', 'ForSequenceClassification', 'ForTokenClassification']),
  commonNames: {},
  blocks: config => config.count('num_hidden_layers'),
  vocabulary: config => config.count('vocab_size'),
  positions: config => config.count('max_position_embeddings', 2048),
  build: (net, given, {ids, mask}, purpose) => {
    const config = given.withDefaults({max_position_embeddings: 2048});
    config.count('max_position_embeddings');
    const width = config.count('hidden_size');
    const heads = config.count('num_attention_heads');
    const keyValueHeads = config.countOr('num_key_value_heads', heads);
    const size = Math.floor(width / heads);
    const epsilon = config.number('layer_norm_eps', 1e-5);
    const sizes = {
      width,
      inner: config.count('intermediate_size'),
      epsilon,
      activation: config.choice('hidden_act', HUB_ACTIVATIONS, 'gelu_new'),
    };
    const causal = config.flag('is_causal', true);
    const normalizes = config.flag('qk_layernorm', false);
    config.expect('head_dim', size);
    if (width % heads !== 0 || heads % keyValueHeads !== 0) {
      config.fault(
        `hidden_size (${width}) must be a multiple of num_attention_heads, and that (${heads}) one of ` +
          `num_key_value_heads (${keyValueHeads}).`,
      );
    }
    const part = {field: 'partial_rotary_factor', usual: 0.5};
    const rotary = partialRotary(config, {size, isPlan: net.isPlan}, {part, even: true});
    if (purpose.head === 'tokenClasses') {
      config.expect('token_classification_bias', true);
    }
    const root = purpose.head === 'none' ? '' : 'model';
    const tokenEmbedding = nameOf(root, 'embed_tokens');
    const vocabulary = config.count('vocab_size');
    let x = net.embedding(tokenEmbedding, vocabulary, width, ids);
    const count = config.count('num_hidden_layers');
    for (let i = 0; i < count; i++) {
      const layer = nameOf(root, 'layers', i);
      x = net.block({name: `${layer}/block`, index: i, count}, [x, mask], ([input = null, seen = null]) => {
        const self = nameOf(layer, 'self_attn');
        const attend = (first: NetTensor) => {
          const project = (name: string, number: number) =>
            net.dense(nameOf(self, name), [width, number * size], first);
          const normed = (name: string, x: NetTensor) =>
            normalizes ? net.layerNorm(nameOf(self, name), size, epsilon, [x], {eachHead: true}) : x;
          const q = normed('q_layernorm', project('q_proj', heads));
          const k = normed('k_layernorm', project('k_proj', keyValueHeads));
          const inputs = [q, k, project('v_proj', keyValueHeads), seen];
          return net.attention(self, inputs, {heads, keyValueHeads, causal, rotary});
        };
        return plainBlock(net, layer, {...sizes, modules: MODULES, order: 'parallel', stored: {}, attend}, input);
      });
    }
    x = net.layerNorm(nameOf(root, 'final_layernorm'), width, epsilon, [x]);
    return decoderHead(
      net,
      config,
      {states: x, ids, mask},
      {...purpose, ...{width, vocabulary, tokenEmbedding}, isTied: false, tokenHead: 'score', bias: true},
    );
  },
};
