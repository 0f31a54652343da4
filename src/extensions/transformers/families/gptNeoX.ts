import {HUB_ACTIVATIONS, type Architecture, nameOf} from '../net/architecture';
import {decoderHead} from './decoderHead';
import type {NetTensor} from '../net/net';
import {partialRotary} from './partialRotary';
import {plainBlock} from './plainBlock';

const MODULES = {
  attention: 'attention',
  attended: 'attention/dense',
  norms: ['input_layernorm', 'post_attention_layernorm'],
  feedForward: 'mlp',
  wide: 'mlp/dense_h_to_4h',
  activation: 'mlp/act',
  narrow: 'mlp/dense_4h_to_h',
} as const;

/**
 * GPT-NeoX, such as Pythia: parallel parts, rotary positions for a part of each head, and one layer for queries, keys
 * and values, head by head. (Black et al., arXiv 2204.06745.)
 */
export const gptNeoX: Architecture = {
  prefix: 'gpt_neox',
  classes: {
    GPTNeoXModel: 'none',
    GPTNeoXForCausalLM: 'tokens',
    GPTNeoXForSequenceClassification: 'classes',
    GPTNeoXForTokenClassification: 'tokenClasses',
    GPTNeoXForQuestionAnswering: 'spans',
  },
  unused: /^layers\.\d+\.attention\.bias$/, // a causal mask in older files
  renamed: name => name.replace(/^embed_out\./, 'lm_head.'),
  commonNames: {},
  blocks: config => config.count('num_hidden_layers'),
  vocabulary: config => config.count('vocab_size'),
  positions: config => config.count('max_position_embeddings', 2048),
  build: (net, given, {ids, mask}, purpose) => {
    const config = given.withDefaults({max_position_embeddings: 2048});
    config.count('max_position_embeddings');
    const width = config.count('hidden_size');
    const heads = config.count('num_attention_heads');
    const size = Math.floor(width / heads);
    const sizes = {
      width,
      inner: config.count('intermediate_size'),
      epsilon: config.number('layer_norm_eps', 1e-5),
      activation: config.choice('hidden_act', HUB_ACTIVATIONS, 'gelu'),
      order: config.flag('use_parallel_residual', true) ? ('parallel' as const) : ('before' as const),
      stored: {},
      storedAttended: {bias: config.flag('attention_bias', true)},
    };
    const causal = config.flag('is_causal', true);
    config.expect('head_dim', size);
    if (width % heads !== 0) {
      config.fault(`hidden_size must be a multiple of num_attention_heads (${heads}), got ${width}.`);
    }
    const part = {field: 'rotary_pct', usual: 0.25};
    const rotary = partialRotary(config, {size, isPlan: net.isPlan}, {theta: 'rotary_emb_base', part});
    const root = purpose.head === 'none' ? '' : 'gpt_neox';
    const tokenEmbedding = nameOf(root, 'embed_in');
    const vocabulary = config.count('vocab_size');
    let x = net.embedding(tokenEmbedding, vocabulary, width, ids);
    const count = config.count('num_hidden_layers');
    for (let i = 0; i < count; i++) {
      const layer = nameOf(root, 'layers', i);
      x = net.block({name: `${layer}/block`, index: i, count}, [x, mask], ([input = null, seen = null]) => {
        const self = nameOf(layer, 'attention');
        const attend = (first: NetTensor) => {
          const byHead = net.dense(nameOf(self, 'query_key_value'), [width, 3 * width], first, sizes.storedAttended);
          const packed = net.byParts(nameOf(self, 'parts'), {heads, parts: 3, size}, byHead);
          return net.attention(self, [packed, seen], {heads, causal, packed: true, rotary});
        };
        return plainBlock(net, layer, {...sizes, modules: MODULES, attend}, input);
      });
    }
    x = net.layerNorm(nameOf(root, 'final_layer_norm'), width, sizes.epsilon, [x]);
    return decoderHead(
      net,
      config,
      {states: x, ids, mask},
      {...purpose, ...{width, vocabulary, tokenEmbedding}, isTied: false, tokenHead: 'classifier'},
    );
  },
};
