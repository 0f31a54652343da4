import * as tf from '@tensorflow/tfjs';
import {checkCount, checkOptions, kindOf, LoRAError, misfitError, show, showShape} from '../../platform/errors';
import {type CallOptions, checkCallOptions, throwIfAborted} from '../../platform/signals';
import {checkModel} from '../../core/rewire/walk';
import {speechFacts} from '../transformers/load/speechFacts';
import {SpeechSession} from './speechSession';
import {firstTokens, likeliestLanguage, nextToken} from './transcriptRules';

/** Makes text of tokens. `loadTransformer` makes one with `@huggingface/tokenizers`. */
export interface SpeechTokenizer {
  decode(ids: number[], options?: {skip_special_tokens?: boolean}): string;
}

/** How a clip is transcribed. */
export interface TranscribeOptions extends Pick<CallOptions, 'signal'> {
  /** The code of the language that is spoken, such as `'en'`. Default: that of the model's config, or detected. */
  language?: string;
  /** `'transcribe'`, or `'translate'` to English. Default: that of the model's config. */
  task?: 'transcribe' | 'translate';
  /** Whether a piece is a segment with its times. Default: false, the pieces are as short as possible. */
  timestamps?: boolean;
  /** The most tokens to generate. Default: as many as the model has positions for. */
  maxTokens?: number;
}

/** A piece of a transcript. */
export interface TranscriptPiece {
  text: string;
  /** With `timestamps`: when the segment begins and ends, in seconds. A segment that the clip cuts off has no end. */
  start?: number;
  end?: number;
}

/** The decoder's replacement for bytes that are not, or not yet, a character. */
const UNFINISHED = '\ufffd';

/** The seconds between two timestamps. */
const STEP = 0.02;

/**
 * Transcribes a clip with a Whisper of the hub, piece by piece. The likeliest token is taken each time, as in
 * `generate` of transformers. The encoder computes the clip once, and the decoder one position for each token, with
 * cached keys and values. A clip is one window: cut longer sounds into clips, and transcribe each.
 *
 * @param model of `loadTransformer`, adapted or not: `WhisperForConditionalGeneration`.
 * @param tokenizer the tokenizer of the model.
 * @param clip the features of one clip, `[1, frames, bins]`, as `encodeSounds` makes them; 30 s for the models of the
 *     hub.
 * @param options the language, the task, timestamps, the most tokens, and a signal.
 * @returns the pieces of the transcript.
 * @throws LoRAError at once: `ERR_OPTION` if an option is out of range or the model lacks the language; `ERR_MISFIT` if
 *     the model is no Whisper, or the clip does not fit it; `ERR_UNSUPPORTED` if its config lacks the first token.
 *     While iterating: `ERR_ABORTED`, or `ERR_NUMERIC` if a logit is not finite.
 * @example
 *     const {features} = await encodeSounds(file, {preprocessor});
 *     for await (const {text} of transcribe(whisper, tokenizer, features, {language: 'en'})) console.log(text);
 * @experimental
 */
export function transcribe(
  model: tf.LayersModel,
  tokenizer: SpeechTokenizer,
  clip: tf.Tensor,
  options: TranscribeOptions = {},
): AsyncGenerator<TranscriptPiece, void, undefined> {
  checkOptions(options, {language: true, task: true, timestamps: true, maxTokens: true, signal: true});
  checkCallOptions(options);
  checkModel(model);
  const {language, task, timestamps = false, maxTokens = Infinity, signal} = options;
  if (typeof (tokenizer as Partial<SpeechTokenizer> | null | undefined)?.decode !== 'function') {
    throw new LoRAError(`tokenizer must have a function decode, as that of loadTransformer, got ${kindOf(tokenizer)}.`);
  }
  if (maxTokens !== Infinity) {
    checkCount('maxTokens', maxTokens);
  }
  if (typeof timestamps !== 'boolean') {
    throw new LoRAError(`timestamps must be true or false, got ${show(timestamps)}.`);
  }
  checkClip(model, clip);
  const facts = speechFacts(model);
  const tokens = firstTokens(facts, {language, task, timestamps});
  return pieces();

  async function* pieces(): AsyncGenerator<TranscriptPiece, void, undefined> {
    throwIfAborted(signal);
    const session = new SpeechSession(model, clip);
    try {
      if (tokens.includes(undefined)) {
        tokens[1] = likeliestLanguage(await session.logits(tokens.slice(0, 1) as number[]), facts);
        session.restart();
      }
      let given = tokens as number[];
      const most = Math.min(maxTokens, session.maxPositions - given.length);
      const writer = new TranscriptWriter(tokenizer, timestamps ? facts.noTimestamps : undefined);
      const made: number[] = [];
      while (made.length < most) {
        throwIfAborted(signal);
        const token = nextToken(await session.logits(given), made, facts, timestamps);
        if (facts.ends.includes(token)) {
          break;
        }
        made.push(token);
        given = [token];
        yield* writer.add(token);
        // Lets events of the page abort the transcription.
        await new Promise(resolve => setTimeout(resolve));
      }
      yield* writer.end();
    } finally {
      session.dispose();
    }
  }
}

function checkClip(model: tf.LayersModel, clip: tf.Tensor): void {
  const [sound, ids] = model.inputs;
  const bins = sound?.shape[2];
  if (sound?.shape.length !== 3 || ids?.shape.length !== 2 || model.outputs[0]?.shape.length !== 3) {
    throw misfitError(
      'transcribe takes a Whisper of loadTransformer with its decoder, WhisperForConditionalGeneration. This model ' +
        'takes ' +
        `${model.inputs.map(({shape}) => showShape(shape)).join(', ')}.`,
    );
  }
  if (!((clip as unknown) instanceof tf.Tensor)) {
    throw new LoRAError(`clip must be a tensor, the features of encodeSounds, got ${kindOf(clip)}.`);
  }
  if (clip.rank !== 3 || clip.shape[0] !== 1 || clip.shape[2] !== bins) {
    throw misfitError(`clip must be the features of one clip, [1, frames, ${bins}], got ${showShape(clip.shape)}.`);
  }
}

/** Makes pieces of tokens: of whole characters, or of segments between timestamps. */
class TranscriptWriter {
  private tokens: number[] = [];
  private written = '';
  private start: number | undefined;

  constructor(
    private readonly tokenizer: SpeechTokenizer,
    /** The token before the timestamps, if there are any. */
    private readonly noTimestamps: number | undefined,
  ) {}

  *add(token: number): Generator<TranscriptPiece> {
    if (this.noTimestamps === undefined) {
      this.tokens.push(token);
      const text = this.text();
      if (!text.endsWith(UNFINISHED)) {
        yield* this.rest(text);
      }
    } else if (token <= this.noTimestamps) {
      this.tokens.push(token);
    } else {
      const time = (token - this.noTimestamps - 1) * STEP;
      yield* this.segment(time);
      this.start = time;
    }
  }

  *end(): Generator<TranscriptPiece> {
    yield* this.noTimestamps === undefined ? this.rest(this.text()) : this.segment();
  }

  private text(): string {
    return this.tokens.length === 0 ? '' : this.tokenizer.decode([...this.tokens], {skip_special_tokens: true});
  }

  private *rest(text: string): Generator<TranscriptPiece> {
    const piece = text.slice(this.written.length);
    this.written = text;
    if (piece !== '') {
      yield {text: piece};
    }
  }

  private *segment(end?: number): Generator<TranscriptPiece> {
    if (this.tokens.length > 0) {
      const {start} = this;
      yield {text: this.text(), ...(start !== undefined && {start}), ...(end !== undefined && {end})};
      this.tokens = [];
    }
  }
}
