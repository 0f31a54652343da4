import type {HubConfig} from '../net/hubConfig';
import type {Rotary} from '../layers/rotaryAngles';
import {firstOf, positive, type RotarySizes, type Scaling, scaledRotary, scalingFieldsOf} from './llamaRotary';
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
      rotaries: new Array<Rotary>(sizes.count).fill(partialRotary(config, sizes)),
    };
  },
});

/** The angles of the first values of each head, optionally extended by LongRoPE. */
function partialRotary(config: HubConfig, {size, isPlan}: RotarySizes): Rotary {
  const given = scalingFieldsOf(config);
  const kind = firstOf(given.rope_type, given.type, 'default');
  // Older configs have another name for it.
  const scaling: Scaling = {...given, rope_type: kind === 'yarn' ? 'longrope' : kind};
  const base = positive(config, 'rope_theta', scaling.rope_theta, config.get('rope_theta'), 10_000);
  const part = positive(
    config,
    'partial_rotary_factor',
    scaling.partial_rotary_factor,
    config.get('partial_rotary_factor'),
  );
  const positions = [config.count('original_max_position_embeddings')];
  const rotated = Math.floor(size * part);
  const pairs = Math.ceil(rotated / 2);
  if (2 * pairs > size || pairs === 0) {
    config.fault(
      `partial_rotary_factor ${part} leaves ${rotated} of ${size} values of a head to rotate; pairs need an even number.`,
    );
    return {};
  }
  return scaledRotary(config, scaling, {base, positions, size: rotated, isPlan}, ['default', 'longrope']);
}
