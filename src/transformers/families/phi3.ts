import {show} from '../../errors';
import type {HubConfig} from '../hubConfig';
import {frequenciesOf, type Rotary} from '../layers/rotaryAngles';
import {firstOf, positive, type RotarySizes, type Scaling, scalingFieldsOf} from './llamaRotary';
import {decoderClasses, rotaryDecoder, windowsOf} from './rotaryDecoder';

/**
 * Phi-3, and Phi-4 mini: queries, keys and values come of one layer, gate and what it lets through of another, and a
 * part of each head may stay as it is. (Abdin et al., arXiv 2404.14219.)
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

/** The angles of the first numbers of each head, stretched by LongRoPE or not. (Ding et al., arXiv 2402.13753.) */
function partialRotary(config: HubConfig, {size, isPlan}: RotarySizes): Rotary {
  const scaling = scalingFieldsOf(config);
  const kind = firstOf(scaling.rope_type, scaling.type, 'default');
  const base = positive(config, 'rope_theta', scaling.rope_theta, config.get('rope_theta'), 10_000);
  const part = positive(
    config,
    'partial_rotary_factor',
    scaling.partial_rotary_factor,
    config.get('partial_rotary_factor'),
  );
  const places = config.count('original_max_position_embeddings');
  const turned = Math.floor(size * part);
  const pairs = Math.ceil(turned / 2);
  if (2 * pairs > size || pairs === 0) {
    config.fault(`partial_rotary_factor ${part} leaves ${turned} of ${size} numbers of a head to turn in pairs.`);
    return {};
  }
  const plain = isPlan ? [] : frequenciesOf({base}, turned);
  // Older configs have another name for it.
  if (kind !== 'longrope' && kind !== 'yarn') {
    if (kind !== 'default') {
      config.fault(`The rotary scaling ${show(kind)} is not known; known are default and longrope.`);
    }
    return {frequencies: plain};
  }
  const factor = positive(config, 'factor', scaling.factor ?? config.count('max_position_embeddings') / places);
  const stretched = (name: 'short_factor' | 'long_factor'): number[] => {
    const factors = factorsOf(config, scaling, name, pairs);
    return plain.map((frequency, j) => stretch(frequency, factors[j] ?? 1));
  };
  const grown = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(places));
  return {
    frequencies: stretched('short_factor'),
    longer: {places, frequencies: stretched('long_factor')},
    scale: positive(config, 'attention_factor', scaling.attention_factor ?? grown),
  };
}

/** A frequency divided by a factor, rounded as PyTorch has it. */
function stretch(frequency: number, factor: number): number {
  const {fround} = Math;
  return fround(1 / fround(fround(factor) * fround(1 / frequency)));
}

function factorsOf(config: HubConfig, scaling: Scaling, name: string, pairs: number): number[] {
  const factors = scaling[name];
  if (
    !Array.isArray(factors) ||
    factors.length !== pairs ||
    factors.some(each => !(typeof each === 'number' && each > 0))
  ) {
    config.fault(`${name} must list ${pairs} positive numbers, got ${show(factors)}.`);
    return [];
  }
  return factors as number[];
}
