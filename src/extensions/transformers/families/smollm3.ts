import {show} from '../../../platform/errors';
import type {HubConfig} from '../net/hubConfig';
import {windowedBlocks} from './layerTypes';
import {alike, decoderClasses, rotaryDecoder} from './rotaryDecoder';

/** SmolLM3: a Llama in which every fourth block has no rotary positions. (Bakouch et al., 2025.) */
export const smollm3 = rotaryDecoder({
  classes: decoderClasses('SmolLM3'),
  defaults: {
    max_position_embeddings: 32_768,
    no_rope_layer_interval: 4,
    num_key_value_heads: 4,
    pad_token_id: 128_004,
    rope_theta: 2_000_000,
    sliding_window: null,
    tie_word_embeddings: true,
  },
  biases: 'configured',
  mayOmit: ['num_key_value_heads'],
  blocks: (config, sizes) => {
    if (config.get('pad_token_id') !== null) {
      config.index('pad_token_id', {below: 'vocab_size'});
    }
    config.count('no_rope_layer_interval');
    const rotates = rotatedBlocks(config, sizes.count);
    const window = config.get('sliding_window') === null ? null : config.nonNegative('sliding_window');
    const isOn = config.flag('use_sliding_window', false) && window !== null;
    const windowed = windowedBlocks(config, sizes.count, i => isOn && rotates[i] !== true);
    const {rotaries, ...blocks} = alike(config, sizes, windowed);
    return {...blocks, rotaries: rotaries.map((rotary, i) => (rotates[i] === true ? rotary : null))};
  },
});

/** Whether each block rotates queries and keys: by `no_rope_layers`, or all but one in `no_rope_layer_interval`. */
function rotatedBlocks(config: HubConfig, count: number): boolean[] {
  const ropeFlags = config.get('no_rope_layers') ?? null;
  if (ropeFlags === null) {
    const every = config.count('no_rope_layer_interval');
    return Array.from({length: count}, (_, i) => (i + 1) % every !== 0);
  }
  if (!Array.isArray(ropeFlags) || ropeFlags.length < count || ropeFlags.some(flag => flag !== 0 && flag !== 1)) {
    config.fault(`no_rope_layers must list 0 or 1 for each of ${count} blocks, got ${show(ropeFlags)}.`);
    return [];
  }
  return ropeFlags.map(flag => flag === 1);
}
