import type {HubConfig} from '../net/hubConfig';
import {embeddingScale} from './gemma';
import {windowedBlocks} from './layerTypes';
import {alike, decoderClasses, type DecoderVariant, rotaryDecoder} from './rotaryDecoder';

/** The differences from Llama that Gemma 3 has too. */
export const GEMMA_2 = {
  defaults: {
    head_dim: 256,
    hidden_activation: 'gelu_pytorch_tanh',
    max_position_embeddings: 8192,
    num_key_value_heads: 4,
    pad_token_id: 0,
    query_pre_attn_scalar: 256,
    sliding_window: 4096,
    tie_word_embeddings: true,
  },
  biases: 'configured attention',
  mayOmit: [],
  activation: 'hidden_activation',
  norms: 'around',
  addsOne: true,
  multipliers: (config: HubConfig) => ({
    embeddings: embeddingScale(config),
    attention: config.count('query_pre_attn_scalar') ** -0.5,
  }),
} satisfies Omit<DecoderVariant, 'classes'>;

/**
 * Gemma 2: every other block has a sliding window, each part has a normalization before and after it, and attention
 * scores and logits have soft caps. (Gemma Team, arXiv 2408.00118.)
 */
export const gemma2 = rotaryDecoder({
  classes: decoderClasses('Gemma2', ['Model', 'ForCausalLM', 'ForSequenceClassification', 'ForTokenClassification']),
  ...GEMMA_2,
  softCaps: config => ({
    attention: capOf(config, 'attn_logit_softcapping', 50),
    logits: capOf(config, 'final_logit_softcapping', 30),
  }),
  blocks: (config, sizes) => {
    config.expect('use_bidirectional_attention', null, false);
    config.count('sliding_window'); // transformers builds its mask even if no block uses it
    const heads = config.count('num_attention_heads');
    config.expectMultiple(['hidden_size', config.count('hidden_size')], ['num_attention_heads', heads]);
    return alike(
      config,
      sizes,
      windowedBlocks(config, sizes.count, i => i % 2 === 0),
    );
  },
});

function capOf(config: HubConfig, field: string, usual: number): number | null {
  return config.get(field) === null ? null : config.number(field, usual);
}
