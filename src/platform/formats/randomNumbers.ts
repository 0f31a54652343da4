/**
 * Whole numbers below 2³² from a seed and the number of a stream: the mulberry32 generator, started from a mix of both.
 * tfjs's own random numbers depend on the backend, and its shuffle cannot be seeded.
 */
export function randomNumbers(seed: number, stream: number): () => number {
  let state = mixed(mixed(seed | 0) ^ (stream | 0));
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    return mixed(state) >>> 0;
  };
}

/** A whole number of 32 bits with its bits mixed up. */
function mixed(state: number): number {
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return t ^ (t >>> 14);
}
