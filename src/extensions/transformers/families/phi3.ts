import type {HubConfig} from '../net/hubConfig';
import type {Rotary} from '../layers/rotaryAngles';
import {firstOf, type RotarySizes, scalingFieldsOf} from './llamaRotary';
import {partialRotary} from './partialRotary';
import {decoderClasses, rotaryDecoder, windowsOf} from './rotaryDecoder';

/**
 * Phi-3 and Phi-4 mini: one layer computes queries, keys and values, another one gate and up. Only a part of each head
 * may be rotated. (Abdin et al., arXiv 2404.14219.)
 */
export const phi3 = rotaryDecoder({
  classes: decoderClasses('Phi3', ['Model', 'ForCausalLM', 'ForSequenceClassification', 'ForTokenClassification']),
  defaults: {
    max_position_embeddings: 4096,
    original_max_position_embeddings: 4096,
    pad_token_id: 32_000,
    partial_rotary_factor: 1,
    rms_norm_eps: 1e-5,
    sliding_window: null,
  },
  biases: 'none',
  mayOmit: ['num_key_value_heads'],
  joined: true,
  blocks: (config, sizes) => {
    const windowed = new Array<boolean>(sizes.count).fill(config.get('sliding_window') !== null);
    return {
      causal: sizes.causal,
      windows: windowsOf(config, sizes.causal, windowed),
      rotaries: new Array<Rotary>(sizes.count).fill(rotaryOf(config, sizes)),
    };
  },
});

/** The angles of the first values of each head, optionally extended by LongRoPE. */
function rotaryOf(config: HubConfig, sizes: RotarySizes): Rotary {
  const scalingFields = scalingFieldsOf(config);
  const kind = firstOf(scalingFields.rope_type, scalingFields.type, 'default');
  // Older configs have another name for it.
  const scaling = {...scalingFields, rope_type: kind === 'yarn' ? 'longrope' : kind};
  const positions = [config.count('original_max_position_embeddings')];
  return partialRotary(config, sizes, {scaling, positions, supported: ['default', 'longrope']});
}
