/** A GPT as `@genai-fi/nanogpt` builds it, with LoRA of rank 8 on the four matrices of each block. */
export interface GPT {
  layers: number;
  heads: number;
  width: number;
  positions: number;
  batch: number;
  vocabulary: number;
}

export const GPTS = {
  gpt: {layers: 4, heads: 4, width: 96, positions: 64, batch: 4, vocabulary: 200},
  'gpt-192': {layers: 4, heads: 4, width: 192, positions: 128, batch: 8, vocabulary: 200},
} as const satisfies Record<string, GPT>;

export const RANK = 8;
export const LEARNING_RATE = 1e-4;

/** Words to read, and the vocabulary that come next. The same everywhere. */
export function text({batch, positions, vocabulary}: GPT): {ids: Int32Array; next: Int32Array} {
  const at = (i: number) => (i * 31 + ((i * i) % 17) * 7) % vocabulary;
  const length = batch * positions;
  return {
    ids: Int32Array.from({length}, (_, i) => at(i)),
    next: Int32Array.from({length}, (_, i) => at(i + 1)),
  };
}
