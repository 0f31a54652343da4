import {alike, decoderClasses, rotaryDecoder} from './rotaryDecoder';

/** Mistral, whose first version sees a window of the text in every block. (Jiang et al., arXiv 2310.06825.) */
export const mistral = rotaryDecoder({
  classes: decoderClasses('Mistral'),
  biases: 'none',
  bodyOfSpans: 'model',
  defaults: {max_position_embeddings: 131_072, num_key_value_heads: 8, sliding_window: 4096},
  mayOmit: ['head_dim'],
  blocks: (config, sizes) => {
    config.expect('layer_types', null); // transformers does not heed them, and another model is meant
    const isWindowed = config.get('sliding_window') !== null;
    return alike(config, sizes, new Array<boolean>(sizes.count).fill(isWindowed));
  },
});
