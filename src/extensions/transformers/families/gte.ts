import {classesOf, ENCODER_ENDS} from '../net/architecture';
import {LM_HEAD} from './encoder';
import {rotaryEncoder} from './rotaryEncoder';

/**
 * GTE: rotary positions, gated feed-forward, biases. Files have queries, keys and values in one tensor, and up and gate
 * in another. In adapters they are separate. (Zhang et al., arXiv 2407.19669.)
 */
export const gte = rotaryEncoder({
  prefix: 'gte',
  classes: classesOf(
    'Gte',
    ENCODER_ENDS.filter(end => !/Question|Choice/.test(end)),
  ),
  renamed: name =>
    name
      .replace(/^new\./, '')
      .replace(/^encoder\.layer\./, 'layers.')
      .replace(/^(layers\.\d+)\.attention\./, '$1.self_attn.')
      .replace(/^(layers\.\d+)\.attn_ln\./, '$1.post_attention_layernorm.')
      .replace(/^(layers\.\d+)\.mlp_ln\./, '$1.post_mlp_layernorm.')
      .replace(/^lm_head\.norm\./, 'lm_head.layer_norm.'),
  defaults: {vocabulary: 250_048, positions: 8192, theta: 160_000, types: 1, activation: 'gelu'},
  headSize: (config, usual) => config.count('head_dim', usual),
  bias: true,
  joined: {projections: 'qkv_proj', gates: 'up_gate_proj'},
  masked: () => ({...LM_HEAD, bias: undefined}),
});
