import {numericError} from '../../platform/errors';

/** How the next token is chosen by its score. */
export interface Sampling {
  /** Scores are divided by it; with 0 the token of the highest score is taken. */
  temperature: number;
  /** So many tokens of the highest scores are chosen from. */
  topK: number;
  /** Of the likeliest tokens as many are chosen from as together have this probability. */
  topP: number;
  /** Scores of tokens that the text has are divided by it, negative ones multiplied. */
  repetitionPenalty: number;
}

/**
 * The next token. Penalty, temperature, `topK` and `topP` come in this order, as in transformers.
 *
 * @param seen the tokens of the text.
 * @param random gives a number in [0, 1).
 * @throws LoRAError if a score is NaN, or the highest is not finite.
 */
export function chooseToken(
  scores: Float32Array,
  seen: Iterable<number>,
  {temperature, topK, topP, repetitionPenalty}: Sampling,
  random: () => number,
): number {
  if (repetitionPenalty !== 1) {
    for (const token of new Set(seen)) {
      const score = scores[token] as number;
      scores[token] = score < 0 ? score * repetitionPenalty : score / repetitionPenalty;
    }
  }
  const wrong = scores.reduce((count, score) => count + (score < Infinity ? 0 : 1), 0);
  const likeliest = scores.reduce((best, score, token) => (score > (scores[best] as number) ? token : best), 0);
  if (wrong > 0 || scores[likeliest] === -Infinity) {
    throw numericError(
      `The model's logits for the next token are not finite (${wrong || scores.length} of ${scores.length}), so that ` +
        'none can be chosen. Look for NaN and infinite numbers in its weights and its adapter.',
    );
  }
  if (temperature === 0) {
    return likeliest;
  }
  // Only words that may be among the topK are put in order: 44 ms for 150,000 words, where all of them take 160.
  const least = topK < scores.length ? (scores.slice().sort()[scores.length - topK] as number) : -Infinity;
  const candidates = Array.from(scores.keys()).filter(token => !((scores[token] as number) < least));
  const kept = candidates.sort((a, b) => (scores[b] as number) - (scores[a] as number)).slice(0, topK);
  const highest = scores[likeliest] as number;
  const weights = kept.map(token => Math.exp(((scores[token] as number) - highest) / temperature));
  const all = weights.reduce((sum, weight) => sum + weight, 0);
  let count = 0;
  let share = 0;
  while (count < kept.length && (count === 0 || share < topP * all)) {
    share += weights[count++] as number;
  }
  let left = random() * share;
  for (let i = 0; i < count - 1; i++) {
    left -= weights[i] as number;
    if (left < 0) {
      return kept[i] as number;
    }
  }
  return kept[count - 1] as number;
}
