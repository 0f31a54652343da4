import type * as tf from '@tensorflow/tfjs';
import {checkOptions, kindOf, type KnownOptions, LoRAError, show, throwFaults} from '../../platform/errors';
import {randomNumbers} from '../../platform/formats/randomNumbers';
import {checkModel} from '../../core/rewire/walk';
import {answerEnds} from './answerEnds';
import {chatText, type Message, ofEntry, type TemplateClass} from './chat';
import {checkLanguageTokenizer, type LanguageTokenizer} from './languageTokenizer';
import {languageFacts} from '../transformers/load/languageFacts';
import {chooseToken, type Sampling} from './sampling';
import {WritingSession} from './session';
import {TextPieces} from './textPieces';

/** How a text is written. */
export interface GenerateOptions {
  /** The most tokens that are written. A text ends at the last place of its model too. Default: 128. */
  maxTokens?: number;
  /**
   * Scores are divided by it before a token is drawn: the smaller, the likelier the text. With 0 each token is the
   * likeliest. Default: 0.
   */
  temperature?: number;
  /** Draws from so many tokens of the highest scores. Default: all. */
  topK?: number;
  /** Draws from as many of the likeliest tokens as together have this probability. Default: 1, all. */
  topP?: number;
  /** Divides the scores of tokens that the text has already, or multiplies negative ones. Default: 1. */
  repetitionPenalty?: number;
  /** Texts that end the writing, and are not given. Default: none; tokens that end a text always do. */
  stop?: string | readonly string[];
  /** Of a seed follows what is drawn, for each text as alone. Default: another one for each text. */
  seed?: number;
  /** Ends the writing when it is aborted, with the signal's reason. */
  signal?: AbortSignal;
  /** The `Template` of `@huggingface/jinja`, for messages: it makes a text of them by the model's template. */
  Template?: TemplateClass;
}

/** What is written on: a text, or a talk. */
export type Prompt = string | readonly Message[];

const OPTIONS: KnownOptions<GenerateOptions> = {
  maxTokens: true,
  temperature: true,
  topK: true,
  topP: true,
  repetitionPenalty: true,
  stop: true,
  seed: true,
  signal: true,
  Template: true,
};

/**
 * Writes on after a text, or answers in a talk, piece by piece. A piece is whole characters.
 *
 *     for await (const piece of generate(model, tokenizer, 'Once upon a time')) show(piece);
 *     generate(adapted, tokenizer, [{role: 'user', content: 'Hello!'}], {Template, temperature: 0.7, topP: 0.9});
 *
 * The prompt is computed in one pass, then one place for each token: layers keep the keys and values of former places.
 * Adapters that are set and weights in blocks count as in `predict`.
 *
 * @throws LoRAError at once if the model is no language model, an option is out of range, or messages come without a
 *     template.
 */
export function generate(
  model: tf.LayersModel,
  tokenizer: LanguageTokenizer,
  prompt: Prompt,
  options: GenerateOptions = {},
): AsyncGenerator<string, void, undefined> {
  return textsOf(written(model, tokenizer, [prompt], options));
}

/**
 * Writes several texts at once, each as `generate` would alone, up to the last bits of sums. Shorter prompts have
 * padding in front.
 *
 * @returns what was written after each prompt.
 * @throws LoRAError as `generate`.
 */
export async function generateTexts(
  model: tf.LayersModel,
  tokenizer: LanguageTokenizer,
  prompts: readonly Prompt[],
  options: GenerateOptions = {},
): Promise<string[]> {
  if (!Array.isArray(prompts) || prompts.length === 0) {
    throw new LoRAError(
      `A list of prompts is needed, got ${Array.isArray(prompts) ? 'an empty one' : kindOf(prompts)}.`,
    );
  }
  const texts = prompts.map(() => '');
  for await (const [row, text] of written(model, tokenizer, prompts as readonly Prompt[], options)) {
    texts[row] = `${texts[row] ?? ''}${text}`;
  }
  return texts;
}

async function* textsOf(pieces: AsyncIterable<[number, string]>): AsyncGenerator<string, void, undefined> {
  for await (const [, text] of pieces) {
    yield text;
  }
}

/** Checks all, and begins. */
function written(
  model: tf.LayersModel,
  tokenizer: LanguageTokenizer,
  prompts: readonly Prompt[],
  options: GenerateOptions,
): AsyncGenerator<[row: number, text: string], void, undefined> {
  checkOptions(options, OPTIONS);
  const {maxTokens = 128, temperature = 0, topK = Infinity, topP = 1, repetitionPenalty = 1} = options;
  const {stop = [], seed, signal, Template} = options;
  checkSettings({maxTokens, temperature, topK, topP, repetitionPenalty, stop: [stop].flat(), seed, signal});
  checkModel(model);
  checkLanguageTokenizer(tokenizer);
  const facts = languageFacts(model);
  const ids = prompts.map((prompt, i) =>
    ofEntry(prompts.length > 1 && `Prompt ${i}`, () => {
      const isText = typeof prompt === 'string';
      const text = isText ? prompt : chatText(prompt, facts, Template);
      const tokens = [...tokenizer.encode(text, {add_special_tokens: isText}).ids];
      if (tokens.length === 0) {
        throw new LoRAError('The prompt is empty, and the tokenizer puts no token before a text.');
      }
      return tokens;
    }),
  );
  const isTalk = prompts.some(prompt => typeof prompt !== 'string');
  const pieces = ids.map(prompt => new TextPieces(tokenizer, prompt, [stop].flat()));
  const session = new WritingSession(model, ids);
  const settings = {
    maxTokens,
    seed,
    signal,
    ends: isTalk ? answerEnds(tokenizer, facts, Template) : new Set(facts.ends),
  };
  return write(session, ids, pieces, {...settings, temperature, topK, topP, repetitionPenalty});
}

async function* write(
  session: WritingSession,
  ids: number[][],
  pieces: readonly TextPieces[],
  {
    maxTokens,
    seed,
    signal,
    ends,
    ...sampling
  }: Sampling & {
    maxTokens: number;
    seed: number | undefined;
    signal: AbortSignal | undefined;
    ends: ReadonlySet<number>;
  },
): AsyncGenerator<[row: number, text: string], void, undefined> {
  const drawn = Math.floor(Math.random() * 2 ** 31);
  // By a seed each text is written as alone.
  const draws = ids.map((_, row) => (seed === undefined ? randomNumbers(drawn, row) : randomNumbers(seed, 0)));
  const isOpen = ids.map(() => true);
  try {
    for (let count = 0; count < maxTokens && isOpen.includes(true); count++) {
      signal?.throwIfAborted();
      const scores = await session.scores();
      const next: number[] = [];
      for (const [row, text] of ids.entries()) {
        const draw = draws[row] as () => number;
        const token = isOpen[row]
          ? chooseToken(scores[row] as Float32Array, text, sampling, () => draw() / 2 ** 32)
          : 0;
        next.push(token);
        if (!isOpen[row]) {
          continue;
        }
        const piece = ends.has(token) ? '' : (pieces[row] as TextPieces).add(token);
        text.push(token);
        isOpen[row] = !ends.has(token) && pieces[row]?.stopped !== true && text.length <= session.room;
        if (piece !== '') {
          yield [row, piece];
        }
      }
      session.add(next);
      // What a page does between may abort it.
      await new Promise(resolve => setTimeout(resolve));
    }
    for (const [row, each] of pieces.entries()) {
      const rest = each.end();
      if (rest !== '') {
        yield [row, rest];
      }
    }
  } finally {
    session.dispose();
  }
}

function checkSettings({
  maxTokens,
  temperature,
  topK,
  topP,
  repetitionPenalty,
  stop,
  seed,
  signal,
}: Record<'maxTokens' | 'temperature' | 'topK' | 'topP' | 'repetitionPenalty' | 'seed' | 'signal', unknown> & {
  stop: readonly unknown[];
}): void {
  const isCount = (value: unknown) => Number.isInteger(value) && (value as number) > 0;
  const isPositive = (value: unknown) => typeof value === 'number' && value > 0 && value < Infinity;
  const aborts = typeof (signal as Partial<AbortSignal> | null | undefined)?.throwIfAborted === 'function';
  throwFaults([
    ...(isCount(maxTokens) ? [] : [`maxTokens must be a positive integer, got ${show(maxTokens)}.`]),
    ...(temperature === 0 || isPositive(temperature)
      ? []
      : [`temperature must be a number from 0 on, got ${show(temperature)}.`]),
    ...(topK === Infinity || isCount(topK) ? [] : [`topK must be a positive integer, got ${show(topK)}.`]),
    ...(isPositive(topP) && (topP as number) <= 1 ? [] : [`topP must be above 0 and at most 1, got ${show(topP)}.`]),
    ...(isPositive(repetitionPenalty)
      ? []
      : [`repetitionPenalty must be a positive number, got ${show(repetitionPenalty)}.`]),
    ...(stop.every(each => typeof each === 'string' && each !== '')
      ? []
      : [`stop must be a text or a list of texts, none of them empty, got ${show(stop)}.`]),
    ...(seed === undefined || Number.isInteger(seed) ? [] : [`seed must be an integer, got ${show(seed)}.`]),
    ...(signal === undefined || aborts ? [] : [`signal must be an AbortSignal, got ${kindOf(signal)}.`]),
  ]);
}
