import {windowedBlocks} from './layerTypes';
import {alike, decoderClasses, type DecoderVariant, rotaryDecoder} from './rotaryDecoder';

/** Blocks from some index on, or those of `layer_types`, have a sliding window if it is switched on. */
export const WINDOWS: Pick<DecoderVariant, 'defaults' | 'blocks'> = {
  defaults: {num_key_value_heads: 32, sliding_window: 4096, use_sliding_window: false, max_window_layers: 28},
  blocks: (config, sizes) => {
    const window = config.get('sliding_window') === null ? null : config.nonNegative('sliding_window');
    const first = config.nonNegative('max_window_layers');
    const isOn = config.flag('use_sliding_window', false) && window !== null;
    const windowed = windowedBlocks(config, sizes.count, i => isOn && i >= first);
    if (!isOn && windowed.includes(true)) {
      config.fault('layer_types has sliding_attention, but use_sliding_window or sliding_window is not set.');
      return alike(config, sizes);
    }
    return alike(config, sizes, windowed);
  },
};

/** Qwen2 and Qwen2.5: queries, keys and values have a bias. (Yang et al., arXiv 2407.10671.) */
export const qwen2 = rotaryDecoder({
  classes: decoderClasses('Qwen2'),
  biases: 'projections',
  mayOmit: ['num_key_value_heads'],
  ...WINDOWS,
});
