import {HUB_ACTIVATIONS, nameOf} from '../net/architecture';
import {partialRotary} from './partialRotary';
import {plainDecoder} from './plainDecoder';
import {decoderClasses} from './rotaryDecoder';

/**
 * GPT-NeoX, such as Pythia: parallel parts, rotary positions for a part of each head, and one layer for queries, keys
 * and values, head by head. (Black et al., arXiv 2204.06745.)
 */
export const gptNeoX = plainDecoder({
  prefix: 'gpt_neox',
  classes: decoderClasses('GPTNeoX'),
  unused: /^layers\.\d+\.attention\.bias$/, // a causal mask in older files
  renamed: name => name.replace(/^embed_out\./, 'lm_head.'),
  modules: {
    ...{embedding: 'embed_in', blocks: 'layers', norm: 'final_layer_norm'},
    block: {
      attention: 'attention',
      attended: 'attention/dense',
      norms: ['input_layernorm', 'post_attention_layernorm'],
      feedForward: 'mlp',
      wide: 'mlp/dense_h_to_4h',
      activation: 'mlp/act',
      narrow: 'mlp/dense_4h_to_h',
    },
  },
  longest: 2048,
  head: {isTied: false, tokenHead: 'classifier'},
  read: (config, {width, heads, size, isPlan}) => {
    const storedAttended = {bias: config.flag('attention_bias', true)};
    const share = {field: 'rotary_pct', usual: 0.25};
    config.expect('head_dim', size);
    return {
      inner: config.count('intermediate_size'),
      epsilon: config.number('layer_norm_eps', 1e-5),
      activation: config.choice('hidden_act', HUB_ACTIVATIONS, 'gelu'),
      order: config.flag('use_parallel_residual', true) ? 'parallel' : 'before',
      stored: {},
      storedAttended,
      attention: {
        packed: true,
        rotary: partialRotary(config, {size, isPlan}, {theta: 'rotary_emb_base', share}),
      },
      project: (net, self, x) => {
        const byHead = net.dense(nameOf(self, 'query_key_value'), [width, 3 * width], x, storedAttended);
        return [net.byParts(nameOf(self, 'parts'), {heads, parts: 3, size}, byHead)];
      },
    };
  },
});
