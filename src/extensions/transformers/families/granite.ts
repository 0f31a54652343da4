import {decoderClasses, rotaryDecoder} from './rotaryDecoder';

/** Granite 3: a Llama with multipliers from the config. (IBM Granite Team, 2024.) */
export const granite = rotaryDecoder({
  classes: decoderClasses('Granite', ['Model', 'ForCausalLM']),
  biases: 'configured',
  mayOmit: ['num_key_value_heads'],
  multipliers: config => ({
    embeddings: config.number('embedding_multiplier', 1),
    parts: config.number('residual_multiplier', 1),
    attention: config.number('attention_multiplier', 1),
    logits: 1 / config.number('logits_scaling', 1),
  }),
});
