import {decoderClasses, rotaryDecoder} from './rotaryDecoder';

/** Llama and models with the same architecture, such as SmolLM2. (Touvron et al., arXiv 2302.13971.) */
export const llama = rotaryDecoder({classes: decoderClasses('Llama'), biases: 'configured'});
