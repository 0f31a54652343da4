import {windowedBlocks} from './layerTypes';
import {rotariesOf} from './llamaRotary';
import {decoderClasses, rotaryDecoder, windowsOf} from './rotaryDecoder';

/** OLMo 3: an OLMo 2 in which three of four blocks have a sliding window. (Team OLMo, arXiv 2512.13961.) */
export const olmo3 = rotaryDecoder({
  classes: decoderClasses('Olmo3', ['Model', 'ForCausalLM', 'ForSequenceClassification']),
  defaults: {pad_token_id: 1, rms_norm_eps: 1e-5, sliding_window: 4096},
  biases: 'configured attention',
  mayOmit: ['num_key_value_heads'],
  normalizes: 'positions',
  norms: 'after',
  blocks: (config, {count, causal, ...sizes}) => {
    config.count('sliding_window'); // transformers builds its mask even if no block uses it
    const windowed = windowedBlocks(config, count, i => (i + 1) % 4 !== 0);
    const kinds = {full_attention: {theta: 'rope_theta', otherwise: 500_000}, sliding_attention: {otherwise: 500_000}};
    const {full, windowed: local} = rotariesOf(config, sizes, kinds, ['full_attention']);
    return {
      causal,
      windows: windowsOf(config, causal, windowed),
      rotaries: windowed.map(isWindowed => (isWindowed ? local : full)),
    };
  },
});
