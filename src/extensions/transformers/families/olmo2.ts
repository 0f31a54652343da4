import {decoderClasses, rotaryDecoder} from './rotaryDecoder';

/** OLMo 2: normalizations after each part, and of all queries and keys of a position. (arXiv 2501.00656.) */
export const olmo2 = rotaryDecoder({
  classes: decoderClasses('Olmo2', ['Model', 'ForCausalLM', 'ForSequenceClassification']),
  defaults: {pad_token_id: 1, rms_norm_eps: 1e-5},
  biases: 'configured attention',
  mayOmit: ['num_key_value_heads'],
  normalizes: 'positions',
  norms: 'after',
});
