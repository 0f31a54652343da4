import {classesOf, ENCODER_ENDS, HUB_ACTIVATIONS} from '../net/architecture';
import {BERT_HEAD} from './encoder';
import {rotaryEncoder} from './rotaryEncoder';

/**
 * Nomic's BERT: rotary positions, gated feed-forward, no biases. Its older files, which have queries, keys and values
 * in one tensor, are read too. (Nussbaum et al., arXiv 2402.01613.)
 */
export const nomicBert = rotaryEncoder({
  prefix: 'nomic_bert',
  classes: classesOf(
    'NomicBert',
    ENCODER_ENDS.filter(end => !/Question|Choice/.test(end)),
  ),
  renamed: name =>
    name
      .replace(/^encoder\.layers\./, 'layers.')
      .replace(/^emb_ln\./, 'embeddings.LayerNorm.')
      .replace(/^(layers\.\d+)\.attn\./, '$1.self_attn.')
      .replace('.self_attn.out_proj.', '.self_attn.o_proj.')
      .replace('.mlp.fc11.', '.mlp.up_proj.')
      .replace('.mlp.fc12.', '.mlp.gate_proj.')
      .replace('.mlp.fc2.', '.mlp.down_proj.')
      .replace(/^(layers\.\d+)\.norm1\./, '$1.post_attention_layernorm.')
      .replace(/^(layers\.\d+)\.norm2\./, '$1.post_mlp_layernorm.'),
  defaults: {vocabulary: 30528, positions: 2048, theta: 1000, types: 2, activation: 'silu'},
  headSize: (config, usual) => config.countOr('head_dim', usual),
  bias: false,
  joined: {projections: 'Wqkv'},
  masked: config => ({
    ...BERT_HEAD,
    norm: 'cls/predictions/transform/layer_norm',
    activation: config.choice('hidden_act', HUB_ACTIVATIONS, 'silu'),
  }),
});
