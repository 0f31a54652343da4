import {alike, decoderClasses, rotaryDecoder} from './rotaryDecoder';

/** Mistral, whose first version has a sliding window in every block. (Jiang et al., arXiv 2310.06825.) */
export const mistral = rotaryDecoder({
  classes: decoderClasses('Mistral'),
  biases: 'none',
  bodyOfSpans: 'model',
  defaults: {max_position_embeddings: 131_072, num_key_value_heads: 8, sliding_window: 4096},
  mayOmit: ['head_dim'],
  blocks: (config, sizes) => {
    config.expect('layer_types', null); // transformers ignores them, so another model is meant
    const isWindowed = config.get('sliding_window') !== null;
    return alike(config, sizes, new Array<boolean>(sizes.count).fill(isWindowed));
  },
});
