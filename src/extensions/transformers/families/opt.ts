import {DECODER_ENDS, HUB_ACTIVATIONS, nameOf} from '../net/architecture';
import {plainDecoder} from './plainDecoder';
import {decoderClasses} from './rotaryDecoder';

/**
 * OPT: learned positions, which skip padding, and in one size narrower token embeddings. (Zhang et al., arXiv
 * 2205.01068.)
 */
export const opt = plainDecoder({
  prefix: 'model.decoder',
  bareRoot: 'decoder',
  renamed: name => name.replace(/^decoder\./, ''),
  classes: decoderClasses(
    'OPT',
    DECODER_ENDS.filter(end => end !== 'ForTokenClassification'),
  ),
  modules: {
    ...{embedding: 'embed_tokens', blocks: 'layers', norm: 'final_layer_norm'},
    block: {
      attention: 'self_attn',
      attended: 'self_attn/out_proj',
      norms: ['self_attn_layer_norm', 'final_layer_norm'],
      feedForward: 'mlp',
      wide: 'fc1',
      activation: 'activation_fn',
      narrow: 'fc2',
    },
  },
  longest: 2048,
  defaults: {pad_token_id: 1},
  positions: {name: 'embed_positions', offset: 2},
  head: {isTied: true, tokenHead: 'score'},
  read: (config, {width}) => {
    const stored = {bias: config.flag('enable_bias', true)};
    const isBefore = config.flag('do_layer_norm_before', true);
    config.expect('layer_norm_elementwise_affine', true);
    if (config.get('pad_token_id') !== null) {
      config.index('pad_token_id', {below: 'vocab_size'});
    }
    return {
      inner: config.count('ffn_dim'),
      epsilon: 1e-5,
      activation: config.choice('activation_function', HUB_ACTIVATIONS, 'relu'),
      order: isBefore ? 'before' : 'after',
      stored,
      tableWidth: config.countOr('word_embed_proj_dim', width),
      hasNorm: isBefore && !config.flag('_remove_final_layer_norm', false),
      project: (net, self, x) =>
        ['q_proj', 'k_proj', 'v_proj'].map(name => net.dense(nameOf(self, name), [width, width], x, stored)),
    };
  },
});
