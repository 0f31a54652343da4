import {rotaryDecoder} from './rotaryDecoder';

/** Qwen3: each head of the queries and keys is normalized. (Yang et al., arXiv 2505.09388.) */
export const qwen3 = rotaryDecoder({
  family: 'Qwen3',
  biases: 'configured attention',
  normsHeads: true,
  headSize: 128,
  windows: 'switched',
});
