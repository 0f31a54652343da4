import type * as tf from '@tensorflow/tfjs';
import {
  busyError,
  checkCount,
  checkOptions,
  disposedError,
  type KnownOptions,
  LoRAError,
  show,
  tooLargeError,
} from '../../platform/errors';
import {adapterState} from '../../core/layers/layerMarks';
import {isWrapper} from '../../core/layers/wrapperLayer';
import {sitesOf} from '../../core/rewire/walk';
import {hubRecordOf} from '../transformers/net/hubRecord';
import {languageFacts} from '../transformers/load/languageFacts';
import {answerEnds} from './answerEnds';
import {type ChatMessage, isMessages} from '../records/messages';
import {chatText, type ChatTexts} from './chat';
import {
  checkSampling,
  continued,
  GENERATE_OPTIONS,
  type GenerateOptions,
  type Settings,
  settingsOf,
  type TextEnds,
} from './generate';
import type {Tokenizer} from '../transformers/load/tokenizer';
import {checkLanguageTokenizer} from './languageTokenizer';
import {DecodingSession, languageParts} from './session';

/** How a chat starts, and how its answers are generated. */
export interface ChatOptions extends GenerateOptions {
  /** The system message. Default: none. */
  system?: string;
  /** Earlier messages to continue from, such as a stored `chat.messages`. Default: none. */
  messages?: readonly ChatMessage[];
  /** The most positions of the whole conversation. Default: the `max_position_embeddings` of the model's config. */
  maxLength?: number;
}

const OPTIONS: KnownOptions<ChatOptions> = {...GENERATE_OPTIONS, system: true, messages: true, maxLength: true};

/** At most this share of `maxLength` is kept free for an answer. */
const FREE = 1 / 4;

/**
 * Opens a chat: a conversation that keeps its messages and caches the keys and values of its positions, so that each
 * turn computes only what is new. The answers equal those of `generate` for all messages.
 *
 * When the positions run out, the chat drops its oldest turns: after the system message, a user message and all that
 * follows up to the next one, until there is room for `maxTokens` more tokens, or for a quarter of `maxLength` if that
 * is less. It never drops the last message. The cache is recomputed if the adapter or another weight changed since the
 * last turn.
 *
 * @param model a model of `loadGGUF` or `loadTransformer` with a head for the next token, adapted or not.
 * @param tokenizer the tokenizer of the model, with a chat template.
 * @param options the system message, and options of `generate` for all answers.
 * @returns the chat. Call `dispose()` when it ends.
 * @throws LoRAError `ERR_OPTION` if an option is out of range; `ERR_MISFIT` if the model is no language model, or the
 *     tokenizer has no chat template.
 * @example
 * const chat = openChat(model, tokenizer, {system: 'Answer in one sentence.'});
 * for await (const piece of chat.send('What does a fox eat?')) console.log(piece);
 * chat.dispose();
 * @experimental
 */
export function openChat(model: tf.LayersModel, tokenizer: Tokenizer, options: ChatOptions = {}): Chat {
  checkOptions(options, OPTIONS);
  const {system, messages = [], maxLength, ...generation} = options;
  if (system !== undefined && typeof system !== 'string') {
    throw new LoRAError(`system must be a string, got ${show(system)}.`);
  }
  if (!isMessages(messages) && (messages as readonly unknown[] | null)?.length !== 0) {
    throw new LoRAError(`messages must be a list of {role, content}, got ${show(messages)}.`);
  }
  if (maxLength !== undefined) {
    checkCount('maxLength', maxLength, 2);
  }
  settingsOf(generation);
  checkLanguageTokenizer(tokenizer);
  const {maxPositions} = languageParts(model);
  const {max_position_embeddings: configured} = (hubRecordOf(model)?.config ?? {}) as Record<string, unknown>;
  const limit = Math.min(maxLength ?? (typeof configured === 'number' ? configured : Infinity), maxPositions);
  const texts = {tokenizer, facts: languageFacts(model)};
  const history = [...(system === undefined ? [] : [{role: 'system', content: system}]), ...messages];
  return new ChatSession(model, texts, history, {limit, generation});
}

/**
 * A conversation with a model. Returned by `openChat`.
 *
 * @experimental
 */
export interface Chat {
  /** The messages that the model sees, oldest first, without dropped ones. */
  readonly messages: readonly ChatMessage[];
  /** How many positions are left for the next turn; `Infinity` if unlimited. */
  readonly positionsLeft: number;
  /**
   * Sends a message and generates the answer piece by piece, as `generate` does. Both join the conversation when the
   * answer is complete. If it is aborted, or the loop ends early, the conversation stays as it was and can continue.
   *
   * @param text the message of the user.
   * @param options options of `generate` that override those of the chat for this answer.
   * @returns the pieces of the answer.
   * @throws LoRAError `ERR_OPTION` if an option is out of range; `ERR_BUSY` while another answer is generated;
   *     `ERR_DISPOSED`; `ERR_TOO_LARGE` if the message does not fit even without earlier turns. While iterating also
   *     `ERR_ABORTED`, or `ERR_NUMERIC` if a logit is not finite.
   */
  send(text: string, options?: GenerateOptions): AsyncGenerator<string, void, undefined>;
  /** Frees the cache. Ends an answer in progress. */
  dispose(): void;
}

class ChatSession implements Chat {
  private session: DecodingSession | undefined;
  /** The weights and adapters of the model when the cache was computed. */
  private computedWith: readonly unknown[] = [];
  private history: readonly ChatMessage[];
  private readonly ends: ReadonlySet<number>;
  /** How many tokens the messages have. */
  private length: number;
  private state: 'idle' | 'answering' | 'disposed' = 'idle';

  constructor(
    private readonly model: tf.LayersModel,
    private readonly texts: ChatTexts,
    messages: readonly ChatMessage[],
    private readonly settings: {readonly limit: number; readonly generation: GenerateOptions},
  ) {
    this.history = messages;
    // Refuses a missing template here, not at the first message.
    const {length} = this.encode([...messages, {role: 'user', content: ''}]);
    this.length = messages.length === 0 ? 0 : length;
    this.ends = answerEnds(texts);
  }

  get messages(): readonly ChatMessage[] {
    return this.history;
  }

  get positionsLeft(): number {
    return Math.max(0, this.settings.limit - this.length);
  }

  send(text: string, options: GenerateOptions = {}): AsyncGenerator<string, void, undefined> {
    checkOptions(options, GENERATE_OPTIONS);
    const {generation} = this.settings;
    const {topK: _, topP: __, seed: ___, ...greedy} = generation;
    // An answer without sampling does not use how the chat samples otherwise.
    const wanted = {...(options.temperature === 0 ? greedy : generation), ...options};
    const settings = settingsOf(wanted);
    checkSampling(wanted);
    if (typeof text !== 'string') {
      throw new LoRAError(`A message must be a string, got ${show(text)}.`);
    }
    this.checkIdle();
    return this.answer(text, settings);
  }

  dispose(): void {
    this.state = 'disposed';
    this.session?.clear();
  }

  private checkIdle(): void {
    if (this.state === 'disposed') {
      throw disposedError('The chat was disposed of. Open another one with openChat.');
    }
    if (this.state === 'answering') {
      throw busyError('The chat is generating an answer. Read it to its end, or abort it, before the next message.');
    }
  }

  private async *answer(text: string, settings: Settings): AsyncGenerator<string, void, undefined> {
    this.checkIdle();
    const {messages, ids} = this.shortened([...this.history, {role: 'user', content: text}], settings.maxTokens);
    this.state = 'answering';
    try {
      const session = this.sessionOf(ids);
      const room = Math.min(settings.maxTokens, this.settings.limit - ids.length + 1);
      const ends: TextEnds = {tokenizer: this.texts.tokenizer, ends: this.ends};
      let content = '';
      for await (const [, piece] of continued(session, [ids], ends, {...settings, maxTokens: room})) {
        if (this.isDisposed()) {
          return;
        }
        content += piece;
        yield piece;
      }
      this.history = [...messages, {role: 'assistant', content}];
      this.length = ids.length;
    } finally {
      if (this.isDisposed()) {
        this.session?.clear();
      } else {
        this.state = 'idle';
      }
    }
  }

  private isDisposed(): boolean {
    return this.state === 'disposed';
  }

  /** Drops the oldest turns until the messages fit. Returns the others, and their tokens. */
  private shortened(
    messages: readonly ChatMessage[],
    maxTokens: number,
  ): {messages: readonly ChatMessage[]; ids: number[]} {
    const {limit} = this.settings;
    const most = limit - Math.min(maxTokens, Math.floor(limit * FREE));
    const fixed = messages.findIndex(({role}) => role !== 'system');
    let history = messages;
    for (;;) {
      const ids = this.encode(history);
      const next = history.findIndex(({role}, i) => role === 'user' && i > fixed);
      if (ids.length <= most || (next < 0 && ids.length <= limit)) {
        return {messages: history, ids};
      }
      if (next < 0) {
        throw tooLargeError(
          `The message needs ${ids.length} positions, but the chat has only ${limit}. Send a shorter message.`,
        );
      }
      history = [...history.slice(0, fixed), ...history.slice(next)];
    }
  }

  private encode(messages: readonly ChatMessage[]): number[] {
    return [...this.texts.tokenizer.encode(chatText(messages, this.texts), {add_special_tokens: false}).ids];
  }

  /** Returns the session, set to the tokens of a conversation. */
  private sessionOf(ids: readonly number[]): DecodingSession {
    const now = this.model.weights.map(weight => weight.read().dataId as unknown);
    const wrappers = sitesOf(this.model).flatMap(({layer}) => (isWrapper(layer) ? [layer] : []));
    now.push(...wrappers.map(layer => adapterState(layer).mark));
    if (now.some((mark, i) => mark !== this.computedWith[i])) {
      this.session?.clear();
    }
    this.computedWith = now;
    if (this.session === undefined) {
      this.session = new DecodingSession(this.model, [ids]);
    } else {
      this.session.replace(ids);
    }
    return this.session;
  }
}
