import {embeddingScale} from './gemma';
import {windowedBlocks} from './layerTypes';
import {rotariesOf} from './llamaRotary';
import {decoderClasses, rotaryDecoder, windowsOf} from './rotaryDecoder';

const DEFAULTS = {
  head_dim: 256,
  hidden_activation: 'gelu_pytorch_tanh',
  max_position_embeddings: 131_072,
  num_key_value_heads: 4,
  pad_token_id: 0,
  query_pre_attn_scalar: 256,
  sliding_window: 4096,
  sliding_window_pattern: 6,
  tie_word_embeddings: true,
};

/**
 * The text models of Gemma 3: five of six blocks have a sliding window and their own rotary base, and each part has a
 * normalization before and after it. (Gemma Team, arXiv 2503.19786.)
 */
export const gemma3 = rotaryDecoder({
  classes: {
    ...decoderClasses('Gemma3Text', ['Model', 'ForSequenceClassification']),
    ...decoderClasses('Gemma3', ['ForCausalLM']),
  },
  defaults: DEFAULTS,
  biases: 'configured attention',
  mayOmit: [],
  activation: 'hidden_activation',
  normalizes: 'heads',
  norms: 'around',
  addsOne: true,
  multipliers: config => ({
    embeddings: embeddingScale(config),
    attention: config.count('query_pre_attn_scalar') ** -0.5,
  }),
  blocks: (config, {count, causal, ...sizes}) => {
    config.expect('final_logit_softcapping', null);
    config.expect('attn_logit_softcapping', null);
    config.count('sliding_window'); // transformers builds its mask even if no block uses it
    const every = config.count('sliding_window_pattern');
    const windowed = windowedBlocks(config, count, i => (i + 1) % every !== 0);
    const kinds = {
      full_attention: {theta: 'rope_theta', otherwise: 1_000_000},
      sliding_attention: {theta: 'rope_local_base_freq', otherwise: 10_000},
    };
    const {full, windowed: local} = rotariesOf(config, sizes, kinds, ['full_attention']);
    const rotaries = windowed.map(isWindowed => (isWindowed ? local : full));
    if (config.get('use_bidirectional_attention') == null || !config.flag('use_bidirectional_attention', false)) {
      return {causal, windows: windowsOf(config, causal, windowed), rotaries};
    }
    config.expect('is_causal', true);
    const window = Math.floor(config.count('sliding_window') / 2) + 1;
    return {causal: false, windows: windowed.map(isWindowed => (isWindowed ? window : null)), rotaries};
  },
});
