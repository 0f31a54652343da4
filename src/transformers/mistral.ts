import {rotaryDecoder} from './rotaryDecoder';

/** Mistral without a sliding window, as from version 0.2 on. (Jiang et al., arXiv 2310.06825.) */
export const mistral = rotaryDecoder({family: 'Mistral', biases: 'none', windows: 'always'});
