import {type LoRAError, numericError} from '../../platform/errors';

/** How the next token is chosen from the logits; see `GenerateOptions`. */
export interface Sampling {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly repetitionPenalty: number;
}

/** The most likely tokens, by falling logit; of equal ones, the lower token first. */
export interface Candidates {
  readonly tokens: ArrayLike<number>;
  readonly logits: ArrayLike<number>;
  /** How many logits of the whole vocabulary are NaN or infinitely high. */
  readonly wrong: number;
}

/**
 * The `count` most likely tokens among some.
 *
 * @param pairs logits, their tokens, negative for none, and how many logits are wrong, `[2·n + 1]`.
 */
export function candidatesIn(pairs: Float32Array, count: number): Candidates {
  const n = (pairs.length - 1) / 2;
  const [logits, tokens] = [pairs.subarray(0, n), pairs.subarray(n, 2 * n)];
  const order = Array.from(tokens.keys())
    .filter(i => (tokens[i] as number) >= 0)
    .sort((a, b) => (logits[b] as number) - (logits[a] as number) || (tokens[a] as number) - (tokens[b] as number))
    .slice(0, count);
  return {
    tokens: order.map(i => tokens[i] as number),
    logits: order.map(i => logits[i] as number),
    wrong: pairs[2 * n] as number,
  };
}

/** How many candidates decide about the next token; `undefined` if all logits do. */
export function candidatesFor({temperature, topK, repetitionPenalty}: Sampling): number | undefined {
  return repetitionPenalty !== 1 || (temperature > 0 && topK === Infinity) ? undefined : temperature === 0 ? 1 : topK;
}

/**
 * Chooses the next token of as many candidates as `candidatesFor` says. Temperature and `topP` apply in this order.
 *
 * @param vocabulary how many tokens there are.
 * @param random returns a number in [0, 1).
 * @throws LoRAError if a logit is NaN, or the highest is not finite.
 */
export function chooseCandidate(
  {tokens, logits, wrong}: Candidates,
  vocabulary: number,
  {temperature, topP}: Pick<Sampling, 'temperature' | 'topP'>,
  random: () => number,
): number {
  const highest = logits[0] as number;
  if (wrong > 0 || highest === -Infinity) {
    throw logitsError(wrong, vocabulary);
  }
  if (temperature === 0) {
    return tokens[0] as number;
  }
  const weights = Array.from(logits, logit => Math.exp((logit - highest) / temperature));
  const all = weights.reduce((sum, weight) => sum + weight, 0);
  let count = 0;
  let share = 0;
  while (count < weights.length && (count === 0 || share < topP * all)) {
    share += weights[count++] as number;
  }
  let left = random() * share;
  for (let i = 0; i < count - 1; i++) {
    left -= weights[i] as number;
    if (left < 0) {
      return tokens[i] as number;
    }
  }
  return tokens[count - 1] as number;
}

/**
 * Draws the next token from all of the vocabulary by `softmax(logits / temperature)`. Nothing is sorted, which for
 * each token would take longer than the model.
 *
 * @param random returns a number in [0, 1).
 * @throws LoRAError if a logit is NaN, or the highest is not finite.
 */
export function drawToken(logits: Float32Array, temperature: number, random: () => number): number {
  let [highest, wrong] = [-Infinity, 0];
  for (const logit of logits) {
    wrong += logit < Infinity ? 0 : 1;
    highest = Math.max(highest, logit);
  }
  if (wrong > 0 || highest === -Infinity) {
    throw logitsError(wrong, logits.length);
  }
  const sums = new Float64Array(logits.length);
  let sum = 0;
  for (let token = 0; token < logits.length; token++) {
    sum += Math.exp(((logits[token] as number) - highest) / temperature);
    sums[token] = sum;
  }
  const point = random() * sum;
  let [from, to] = [0, logits.length - 1];
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((sums[middle] as number) > point) {
      to = middle;
    } else {
      from = middle + 1;
    }
  }
  return from;
}

function logitsError(wrong: number, vocabulary: number): LoRAError {
  return numericError(
    `The model's logits for the next token are not finite (${wrong || vocabulary} of ${vocabulary}). ` +
      'Look for NaN and infinite values in its weights and its adapter.',
  );
}

/**
 * Chooses the next token. Penalty, temperature, `topK` and `topP` apply in this order, as in transformers.
 *
 * @param logits the logit of each token of the vocabulary. Modified in place.
 * @param seen the tokens of the text.
 * @param random returns a number in [0, 1).
 * @throws LoRAError if a logit is NaN, or the highest is not finite.
 */
export function chooseToken(
  logits: Float32Array,
  seen: Iterable<number>,
  {temperature, topK, topP, repetitionPenalty}: Sampling,
  random: () => number,
): number {
  if (repetitionPenalty !== 1) {
    for (const token of new Set(seen)) {
      const logit = logits[token] as number;
      logits[token] = logit < 0 ? logit * repetitionPenalty : logit / repetitionPenalty;
    }
  }
  let [likeliest, wrong] = [0, 0];
  for (let token = 0; token < logits.length; token++) {
    const logit = logits[token] as number;
    wrong += logit < Infinity ? 0 : 1;
    likeliest = logit > (logits[likeliest] as number) ? token : likeliest;
  }
  const sampling = {temperature, topP};
  if (temperature === 0 || wrong > 0) {
    const first = {tokens: [likeliest], logits: [logits[likeliest] as number], wrong};
    return chooseCandidate(first, logits.length, sampling, random);
  }
  // Sorts only candidates for the topK: 44 ms for a vocabulary of 150,000, instead of 160.
  const least = topK < logits.length ? (logits.slice().sort()[logits.length - topK] as number) : -Infinity;
  const candidates = Array.from(logits.keys()).filter(token => !((logits[token] as number) < least));
  const tokens = candidates.sort((a, b) => (logits[b] as number) - (logits[a] as number)).slice(0, topK);
  const topCandidates = {tokens, logits: tokens.map(token => logits[token] as number), wrong};
  return chooseCandidate(topCandidates, logits.length, sampling, random);
}
