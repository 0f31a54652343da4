import type * as tf from '@tensorflow/tfjs';
import {randomNumbers} from '../../../platform/formats/randomNumbers';
import {eventsRun, throwIfAborted} from '../../../platform/signals';
import type {TextEnds} from '../generate';
import {chooseToken, drawToken} from '../sampling';
import {DecodingSession} from '../session';
import {TextPieces} from '../textPieces';
import type {ResolvedRewards} from './rewardOptions';

/** What an answer was sampled as. */
export interface Sample {
  readonly tokens: readonly number[];
  readonly text: string;
  readonly truncated: boolean;
}

/** How answers are sampled. */
export type SampleOptions = Pick<ResolvedRewards, 'maxTokens' | 'temperature' | 'topK' | 'topP' | 'signal'>;

/** Random numbers in [0, 1) for an answer: they depend on nothing but the seed, the step, the prompt and the answer. */
export function drawsOf(seed: number, step: number, prompt: number, answer: number): () => number {
  const ofStep = randomNumbers(seed, step)();
  const draw = randomNumbers(randomNumbers(ofStep, prompt)(), answer);
  return () => draw() / 2 ** 32;
}

/**
 * Samples several answers to a prompt. The prompt is computed once, and an answer leaves the batch when it ends. Logits
 * are computed as in training but for rounding, without rounding the inputs of quantized layers to 8 bits.
 *
 * @param prompt the tokens of the prompt.
 * @param draws the random numbers of each answer, in [0, 1).
 * @param onToken called after each token of the group.
 * @throws LoRAError `ERR_TOO_LARGE` if the prompt has more tokens than the model positions, `ERR_NUMERIC` if a logit is
 *     not finite, `ERR_ABORTED`.
 */
export async function sampleAnswers(
  model: tf.LayersModel,
  {tokenizer, ends}: TextEnds,
  prompt: readonly number[],
  draws: readonly (() => number)[],
  {maxTokens, temperature, topK, topP, signal}: SampleOptions,
  onToken: (count: number) => void,
): Promise<Sample[]> {
  const session = new DecodingSession(model, [prompt]);
  session.quantizedActivations = 'float32';
  const drawsAll = topK === Infinity && topP === 1;
  const choose = (logits: Float32Array, random: () => number) =>
    drawsAll
      ? drawToken(logits, temperature, random)
      : chooseToken(logits, [], {temperature, topK, topP, repetitionPenalty: 1}, random);
  const answers = draws.map(random => ({
    random,
    tokens: [] as number[],
    pieces: new TextPieces(tokenizer, prompt, []),
    text: '',
    hasEnd: false,
  }));
  let open = answers;
  try {
    for (let count = 0; count < maxTokens && open.length > 0; count++) {
      throwIfAborted(signal);
      const logits = await session.logits();
      if (count === 0) {
        session.select(draws.map(() => 0));
      }
      open.forEach((answer, row) => {
        // Drawing may change the logits, which are those of all answers at first.
        const token = choose(
          count === 0 ? (logits[0] as Float32Array).slice() : (logits[row] as Float32Array),
          answer.random,
        );
        answer.tokens.push(token);
        answer.hasEnd = ends.has(token);
        answer.text += answer.hasEnd ? '' : answer.pieces.add(token);
      });
      session.add(open.map(({tokens}) => tokens.at(-1) as number));
      const isFull = prompt.length + count + 1 > session.maxPositions;
      const rows = [...open.keys()].filter(row => open[row]?.hasEnd === false && !isFull);
      if (rows.length < open.length) {
        open = rows.map(row => open[row] as (typeof answers)[number]);
        if (rows.length > 0) {
          session.select(rows);
        }
      }
      onToken(count + 1);
      await eventsRun(); // they may abort the sampling
    }
  } finally {
    session.clear();
  }
  return answers.map(({tokens, text, pieces, hasEnd}) => ({tokens, text: text + pieces.end(), truncated: !hasEnd}));
}
