import {HUB_GATES} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {alike, decoderClasses, rotaryDecoder} from './rotaryDecoder';

/** Gemma embeds tokens times √width, as a 32-bit float. */
export function embeddingScale(config: HubConfig): number {
  return Math.fround(Math.sqrt(config.count('hidden_size')));
}

/** The first Gemma: a Llama whose normalization weights are added to one. (Gemma Team, arXiv 2403.08295.) */
export const gemma = rotaryDecoder({
  classes: decoderClasses('Gemma', ['Model', 'ForCausalLM', 'ForSequenceClassification', 'ForTokenClassification']),
  defaults: {
    head_dim: 256,
    hidden_act: 'gelu_pytorch_tanh',
    max_position_embeddings: 8192,
    num_key_value_heads: 16,
    pad_token_id: 0,
    tie_word_embeddings: true,
  },
  biases: 'configured attention',
  mayOmit: [],
  gates: {...HUB_GATES, gelu: 'gelu_tanh'}, // Gemma's own configs say gelu, but mean its approximation
  addsOne: true,
  multipliers: config => ({embeddings: embeddingScale(config)}),
  blocks: (config, sizes) => {
    // transformers makes texts without padding bidirectional, and those with padding causal.
    config.expect('use_bidirectional_attention', null, false);
    return alike(config, sizes);
  },
});
