import {show} from '../../../platform/errors';
import {classesOf, ENCODER_ENDS, HUB_ACTIVATIONS} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {frequenciesOf, type Rotary} from '../layers/rotaryAngles';
import {LM_HEAD} from './encoder';
import {positive, type RotarySizes} from './llamaRotary';
import {rotaryEncoder} from './rotaryEncoder';

/**
 * GTE v1.5 and multilingual as their authors published them, with custom code: queries, keys and values are one layer,
 * up and gate another, and angles may be those of NTK. (Zhang et al., arXiv 2407.19669.)
 */
export const newType = rotaryEncoder({
  prefix: 'new',
  classes: classesOf('New', ENCODER_ENDS.slice(0, -1)),
  renamed: name => name,
  defaults: {vocabulary: 30_528, positions: 2048, theta: 10_000, types: 1, activation: 'gelu'},
  headSize: (config, usual) => {
    const heads = config.count('num_attention_heads', 12);
    config.expectMultiple(['hidden_size', config.count('hidden_size', 768)], ['num_attention_heads', heads]);
    config.expect('layer_norm_type', 'layer_norm');
    config.expect('position_embedding_type', 'rope');
    config.expect('logn_attention_scale', false);
    return usual;
  },
  bias: true,
  joined: {projections: 'qkv_proj', gates: 'up_gate_proj'},
  isJoined: config => config.flag('pack_qkv', true),
  modules: {blocks: 'encoder/layer', self: 'attention', attendedNorm: 'attn_ln', norm: 'mlp_ln'},
  anglesOf: ntkRotary,
  masked: config => ({
    ...LM_HEAD,
    ...{norm: 'lm_head/norm', bias: undefined},
    activation: config.choice('hidden_act', HUB_ACTIVATIONS, 'gelu'),
  }),
});

/** The angles of a base that grows with the factor, or with `mixed_b`, those of each pair. (kexue.fm/archives/9706) */
function ntkRotary(config: HubConfig, {size, isPlan}: RotarySizes): Rotary {
  config.count('max_position_embeddings');
  const base = positive(config, 'rope_theta', config.get('rope_theta'), 10_000);
  config.expect('rope_parameters', null);
  if (size % 2 !== 0) {
    config.fault(`Heads must have an even number of values for rotary positions, got ${size}.`);
  }
  if ((config.get('rope_scaling') ?? null) === null) {
    return {base};
  }
  const scaling = config.section('rope_scaling');
  if (scaling.get('type') !== 'ntk') {
    config.fault(`The rotary scaling ${show(scaling.get('type'))} is not supported. Supported: ntk.`);
  }
  const factor = scaling.number('factor', NaN);
  const mixed = (scaling.get('mixed_b') ?? null) === null ? null : scaling.number('mixed_b', NaN);
  if (isPlan || !(factor > 1)) {
    return {base};
  }
  const {fround} = Math;
  if (mixed === null) {
    const slower = fround(factor ** (2 / size));
    return {frequencies: frequenciesOf({base: base * factor}, size).map(frequency => fround(frequency / slower))};
  }
  const slope = Math.log(factor) / (size / 2) ** mixed;
  const slower = (j: number) => Math.exp(slope * (j + 1) ** mixed);
  return {frequencies: frequenciesOf({base}, size).map((frequency, j) => fround(frequency / slower(j)))};
}
