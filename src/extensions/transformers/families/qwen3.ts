import {WINDOWS} from './qwen2';
import {decoderClasses, rotaryDecoder} from './rotaryDecoder';

/** Qwen3: each head of queries and keys is normalized. (Yang et al., arXiv 2505.09388.) */
export const qwen3 = rotaryDecoder({
  ...WINDOWS,
  classes: decoderClasses('Qwen3'),
  biases: 'configured attention',
  mayOmit: ['num_key_value_heads'],
  normalizes: 'heads',
  defaults: {...WINDOWS.defaults, head_dim: 128},
});
