import {GEMMA_2} from './gemma2';
import {windowedBlocks} from './layerTypes';
import {rotariesOf} from './llamaRotary';
import {decoderClasses, rotaryDecoder, windowsOf} from './rotaryDecoder';

/**
 * The text models of Gemma 3: five of six blocks have a sliding window and their own rotary base, and each part has a
 * normalization before and after it. (Gemma Team, arXiv 2503.19786.)
 */
export const gemma3 = rotaryDecoder({
  classes: {
    ...decoderClasses('Gemma3Text', ['Model', 'ForSequenceClassification']),
    ...decoderClasses('Gemma3', ['ForCausalLM']),
  },
  ...GEMMA_2,
  defaults: {...GEMMA_2.defaults, max_position_embeddings: 131_072, sliding_window_pattern: 6},
  normalizes: 'heads',
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
