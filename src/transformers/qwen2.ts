import {rotaryDecoder} from './rotaryDecoder';

/** Qwen2 and Qwen2.5: queries, keys and values have a bias. (Yang et al., arXiv 2407.10671.) */
export const qwen2 = rotaryDecoder({family: 'Qwen2', biases: 'projections', windows: 'switched'});
