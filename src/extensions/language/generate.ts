import type * as tf from '@tensorflow/tfjs';
import {checkOptions, kindOf, type KnownOptions, LoRAError, show, throwFaults} from '../../platform/errors';
import {randomNumbers} from '../../platform/formats/randomNumbers';
import {type CallOptions, checkCallOptions, eventsRun, throwIfAborted, type OnProgress} from '../../platform/signals';
import {checkModel} from '../../platform/tfjs/checkModel';
import {areQuantizedActivations, type QuantizedActivations} from '../quantized/kernels/activations';
import {answerEnds} from './answerEnds';
import type {ChatMessage} from '../records/messages';
import {chatText, type ChatTexts, ofEntry} from './chat';
import type {Tokenizer} from '../transformers/load/tokenizer';
import {checkLanguageTokenizer} from './languageTokenizer';
import {languageFacts} from '../transformers/load/languageFacts';
import {candidatesFor, chooseCandidate, chooseToken, type Sampling} from './sampling';
import {DecodingSession} from './session';
import {TextPieces} from './textPieces';

/** How text is generated. */
export interface GenerateOptions {
  /** The most tokens to generate. Generation also ends at the model's last position. Default: 128. */
  maxTokens?: number;
  /** Divides the logits: lower values favor likely tokens. 0 always takes the likeliest token. Default: 0. */
  temperature?: number;
  /** With a temperature: samples from this many tokens with the highest logits. Default: all. */
  topK?: number;
  /** With a temperature: samples from the fewest likeliest tokens whose probabilities add up to it. Default: 1, all. */
  topP?: number;
  /** Divides the logits of tokens that the text already has; multiplies negative ones. Default: 1. */
  repetitionPenalty?: number;
  /** Texts that end the generation and are not returned. Default: none. End-of-text tokens always end it. */
  stop?: string | readonly string[];
  /**
   * With a temperature: makes sampling reproducible; each text gives the same result in a batch as alone. Default:
   * random for each text.
   */
  seed?: number;
  /**
   * On WASM, whether quantized layers round their inputs to 8 bits for each token, which is faster: see
   * `setQuantizedActivations`. Rounding every input of SmolLM2-135M raises its perplexity by 0.17 %. Default: as set
   * there.
   */
  quantizedActivations?: QuantizedActivations;
  /** Ends the generation when it is aborted: the iteration throws a `LoRAError` of code `ERR_ABORTED`. */
  signal?: AbortSignal;
}

/** The input of generation: a text to continue, or a chat to answer. */
export type Prompt = string | readonly ChatMessage[];

export const GENERATE_OPTIONS: KnownOptions<GenerateOptions> = {
  ...{maxTokens: true, temperature: true, topK: true, topP: true, repetitionPenalty: true},
  ...{stop: true, seed: true, quantizedActivations: true, signal: true},
};

export interface Settings extends Sampling {
  readonly maxTokens: number;
  readonly stops: readonly string[];
  readonly seed: number | undefined;
  readonly quantizedActivations: QuantizedActivations | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/**
 * Continues a text, or answers a chat, piece by piece. A piece is whole characters.
 *
 * The prompt is computed in one pass, then one position for each token, with cached keys and values of earlier
 * positions. Adapters and quantized weights compute as in `predict`.
 *
 * @param model a model of `loadGGUF` or `loadTransformer` with a head for the next token, adapted or not.
 * @param tokenizer the tokenizer of the model. Messages require a chat template, as the tokenizers of `loadGGUF` and
 *     `loadTransformer` have.
 * @param prompt a text, or messages `{role, content}`.
 * @param options how to choose tokens, when to stop, and a signal.
 * @returns the pieces of the text, without the prompt.
 * @throws LoRAError at once: `ERR_OPTION` if an option is out of range or messages have no template, `ERR_MISFIT` if
 *     the model is no language model or the tokenizer does not fit it, `ERR_TOO_LARGE` if the model has fewer
 *     positions. While iterating: `ERR_ABORTED`, or `ERR_NUMERIC` if a logit is not finite.
 * @example
 * for await (const piece of generate(model, tokenizer, 'Once upon a time', {maxTokens: 64})) console.log(piece);
 * @experimental
 */
export function generate(
  model: tf.LayersModel,
  tokenizer: Tokenizer,
  prompt: Prompt,
  options: GenerateOptions = {},
): AsyncGenerator<string, void, undefined> {
  return textsOf(generated(model, tokenizer, [prompt], options));
}

/**
 * Continues several texts at once, each as `generate` would alone, up to rounding. Shorter prompts are padded on the
 * left.
 *
 * @param model a language model of `loadGGUF` or `loadTransformer`, adapted or not.
 * @param tokenizer the tokenizer of the model.
 * @param prompts texts, or lists of messages; at least one.
 * @param options as those of `generate`, and `onProgress`: how many tokens each text has, of at most `maxTokens`.
 * @returns the generated text of each prompt, in their order.
 * @throws LoRAError `ERR_OPTION` if there is no prompt or an option is out of range, else as `generate`, with the index
 *     of the prompt.
 * @example
 * const [one, other] = await generateTexts(model, tokenizer, ['The dog', 'A cat and'], {maxTokens: 8});
 * @experimental
 */
export async function generateTexts(
  model: tf.LayersModel,
  tokenizer: Tokenizer,
  prompts: readonly Prompt[],
  options: GenerateOptions & CallOptions = {},
): Promise<string[]> {
  checkOptions(options);
  const {onProgress, ...generation} = options;
  checkCallOptions({onProgress});
  checkLanguageTokenizer(tokenizer);
  if (!Array.isArray(prompts) || prompts.length === 0) {
    throw new LoRAError(
      `prompts must be a list of texts or chats, got ${Array.isArray(prompts) ? 'an empty one' : kindOf(prompts)}.`,
    );
  }
  const texts = prompts.map(() => '');
  for await (const [row, text] of generated(model, tokenizer, prompts as readonly Prompt[], generation, onProgress)) {
    texts[row] = `${texts[row] ?? ''}${text}`;
  }
  return texts;
}

async function* textsOf(pieces: AsyncIterable<[number, string]>): AsyncGenerator<string, void, undefined> {
  for await (const [, text] of pieces) {
    yield text;
  }
}

/** Checks everything, then starts. */
function generated(
  model: tf.LayersModel,
  tokenizer: Tokenizer,
  prompts: readonly Prompt[],
  options: GenerateOptions,
  onProgress?: OnProgress,
): AsyncGenerator<[row: number, text: string], void, undefined> {
  checkOptions(options, GENERATE_OPTIONS);
  const settings = settingsOf(options);
  checkSampling(options);
  checkModel(model);
  checkLanguageTokenizer(tokenizer);
  const {ids, ends} = encodePrompts(prompts, {tokenizer, facts: languageFacts(model)});
  const session = new DecodingSession(model, ids);
  return thenDispose(continued(session, ids, {tokenizer, ends}, {...settings, onProgress}), session);
}

/**
 * The tokens of prompts, and those that end a text that continues one.
 *
 * @throws LoRAError with the index of the prompt, if it is none, or has no tokens.
 */
export function encodePrompts(
  prompts: readonly Prompt[],
  texts: ChatTexts,
): {ids: number[][]; ends: ReadonlySet<number>} {
  const {tokenizer, facts} = texts;
  const ids = prompts.map((prompt, i) =>
    ofEntry(prompts.length > 1 && `Prompt ${i}`, () => {
      const isText = typeof prompt === 'string';
      const text = isText ? prompt : chatText(prompt, texts);
      const tokens = [...tokenizer.encode(text, {add_special_tokens: isText}).ids];
      if (tokens.length === 0) {
        throw new LoRAError('The prompt is empty, and the tokenizer adds no token at the start of a text.');
      }
      return tokens;
    }),
  );
  const isChat = prompts.some(prompt => typeof prompt !== 'string');
  return {ids, ends: isChat ? answerEnds(texts) : new Set(facts.ends)};
}

async function* thenDispose<T>(pieces: AsyncIterable<T>, session: DecodingSession): AsyncGenerator<T, void, undefined> {
  try {
    yield* pieces;
  } finally {
    session.clear();
  }
}

export interface TextEnds {
  readonly tokenizer: Tokenizer;
  /** The tokens that end a text. */
  readonly ends: ReadonlySet<number>;
}

/** Continues the texts of a session. `ids` holds their tokens, and receives the generated ones. */
export async function* continued(
  session: DecodingSession,
  ids: readonly number[][],
  {tokenizer, ends}: TextEnds,
  {maxTokens, stops, seed, quantizedActivations, signal, onProgress, ...sampling}: Settings,
): AsyncGenerator<[row: number, text: string], void, undefined> {
  session.quantizedActivations = quantizedActivations;
  const pieces = ids.map(prompt => new TextPieces(tokenizer, prompt, stops));
  const drawn = Math.floor(Math.random() * 2 ** 31);
  // With a seed, each text is generated as it would be alone.
  const draws = ids.map((_, row) => (seed === undefined ? randomNumbers(drawn, row) : randomNumbers(seed, 0)));
  const isOpen = ids.map(() => true);
  for (let made = 0; made < maxTokens && isOpen.includes(true); made++) {
    throwIfAborted(signal);
    const count = candidatesFor(sampling);
    const candidatesOfRows = count === undefined ? undefined : await session.candidates(count);
    const logits = candidatesOfRows === undefined ? await session.logits() : [];
    const next: number[] = [];
    for (const [row, text] of ids.entries()) {
      const draw = draws[row] as () => number;
      const random = () => draw() / 2 ** 32;
      const candidates = candidatesOfRows?.[row];
      const choose = () =>
        candidates === undefined
          ? chooseToken(logits[row] as Float32Array, text, sampling, random)
          : chooseCandidate(candidates, session.vocabulary, sampling, random);
      const token = isOpen[row] ? choose() : 0;
      next.push(token);
      if (!isOpen[row]) {
        continue;
      }
      const piece = ends.has(token) ? '' : (pieces[row] as TextPieces).add(token);
      text.push(token);
      isOpen[row] = !ends.has(token) && pieces[row]?.stopped !== true && text.length <= session.maxPositions;
      if (piece !== '') {
        yield [row, piece];
      }
    }
    session.add(next);
    onProgress?.({done: made + 1, total: maxTokens, what: 'generating tokens'});
    await eventsRun(); // they may abort the generation
  }
  for (const [row, rowPieces] of pieces.entries()) {
    const lastPiece = rowPieces.end();
    if (lastPiece !== '') {
      yield [row, lastPiece];
    }
  }
}

/** @throws LoRAError if options say how to sample, but the likeliest token is always taken. */
export function checkSampling({temperature = 0, topK = Infinity, topP = 1, seed}: GenerateOptions): void {
  const samplingOptions = [
    ...(topK === Infinity ? [] : ['topK']),
    ...(topP === 1 ? [] : ['topP']),
    ...(seed === undefined ? [] : ['seed']),
  ];
  if (temperature === 0 && samplingOptions.length > 0) {
    throw new LoRAError(
      `${samplingOptions.join(' and ')} ${samplingOptions.length > 1 ? 'have' : 'has'} no effect at temperature 0, the default, which ` +
        'always takes the likeliest token. To sample, pass a temperature too, such as {temperature: 0.7}.',
    );
  }
}

/** @throws LoRAError with a line for each option that is out of range. */
export function settingsOf(options: GenerateOptions): Settings {
  const {maxTokens = 128, temperature = 0, topK = Infinity, topP = 1, repetitionPenalty = 1} = options;
  const {stop = [], seed, quantizedActivations, signal} = options;
  const stops: readonly unknown[] = [stop].flat();
  const isCount = (value: unknown) => Number.isInteger(value) && (value as number) > 0;
  const isPositive = (value: unknown) => typeof value === 'number' && value > 0 && value < Infinity;
  const isSignal = typeof (signal as Partial<AbortSignal> | null | undefined)?.throwIfAborted === 'function';
  const checks: [fits: boolean, expected: string, got: string][] = [
    [isCount(maxTokens), 'maxTokens must be a positive integer', show(maxTokens)],
    [temperature === 0 || isPositive(temperature), 'temperature must be 0 or a positive number', show(temperature)],
    [topK === Infinity || isCount(topK), 'topK must be a positive integer', show(topK)],
    [isPositive(topP) && topP <= 1, 'topP must be above 0 and at most 1', show(topP)],
    [isPositive(repetitionPenalty), 'repetitionPenalty must be a positive number', show(repetitionPenalty)],
    [
      stops.every(text => typeof text === 'string' && text !== ''),
      'stop must be a text or a list of texts, none of them empty',
      show(stop),
    ],
    [seed === undefined || Number.isInteger(seed), 'seed must be an integer', show(seed)],
    [
      quantizedActivations === undefined || areQuantizedActivations(quantizedActivations),
      "quantizedActivations must be 'float32' or 'int8'",
      show(quantizedActivations),
    ],
    [signal === undefined || isSignal, 'signal must be an AbortSignal', kindOf(signal)],
  ];
  throwFaults(checks.filter(([fits]) => !fits).map(([, expected, got]) => `${expected}, got ${got}.`));
  const sampling = {temperature, topK, topP, repetitionPenalty};
  return {maxTokens, ...sampling, stops: stops as string[], seed, quantizedActivations, signal};
}
