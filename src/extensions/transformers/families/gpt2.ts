import {HUB_ACTIVATIONS, nameOf} from '../net/architecture';
import {plainDecoder} from './plainDecoder';

/**
 * GPT-2: normalizations before each part, learned positions, and one layer for queries, keys and values. (Radford et
 * al., 2019.)
 */
export const gpt2 = plainDecoder({
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
  modules: {
    ...{embedding: 'wte', blocks: 'h', norm: 'ln_f'},
    block: {
      attention: 'attn',
      attended: 'attn/c_proj',
      norms: ['ln_1', 'ln_2'],
      feedForward: 'mlp',
      wide: 'mlp/c_fc',
      activation: 'mlp/act',
      narrow: 'mlp/c_proj',
    },
  },
  longest: 1024,
  positions: {name: 'wpe'},
  head: {isTied: true, tokenHead: 'classifier'},
  read: (config, {width, heads}) => {
    const scale = config.flag('scale_attn_weights', true) ? 1 / Math.sqrt(width / heads) : 1;
    const scalesByBlock = config.flag('scale_attn_by_inverse_layer_idx', false);
    const stored = {conv1d: true};
    config.expect('add_cross_attention', false);
    return {
      inner: config.countOr('n_inner', 4 * width),
      epsilon: config.number('layer_norm_epsilon', 1e-5),
      activation: config.choice('activation_function', HUB_ACTIVATIONS, 'gelu_new'),
      order: 'before',
      stored,
      attention: block => ({packed: true, scale: scalesByBlock ? scale / (block + 1) : scale}),
      project: (net, self, x) => [net.dense(nameOf(self, 'c_attn'), [width, 3 * width], x, stored)],
    };
  },
});
