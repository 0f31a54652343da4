import * as tf from '@tensorflow/tfjs';
import {checkCount, checkOptions, kindOf, LoRAError, misfitError, show, showShape} from '../../platform/errors';
import {type CallOptions, checkCallOptions, eventsRun, throwIfAborted} from '../../platform/signals';
import {checkModel} from '../../platform/tfjs/checkModel';
import type {Tokenizer} from '../transformers/load/tokenizer';
import {speechFacts} from '../transformers/load/speechFacts';
import {loadedPreprocessor} from '../transformers/net/preprocessorKey';
import {likeliestClasses, samplesPerFrame, wordsIn} from './ctcTranscript';
import {kindOfSpeech, positionsOf} from './speechModel';
import {SECONDS, segmentsIn, STRIDE} from './speechSegments';
import {SpeechSession} from './speechSession';
import {firstTokens, likeliestLanguage, nextToken} from './transcriptRules';

/** How a clip is transcribed. `language`, `task` and `maxTokens` are for a Whisper. */
export interface TranscribeOptions extends Pick<CallOptions, 'signal'> {
  /** The code of the language that is spoken, such as `'en'`. Default: that of the model's config, or detected. */
  language?: string;
  /** `'transcribe'`, or `'translate'` to English. Default: that of the model's config. */
  task?: 'transcribe' | 'translate';
  /**
   * Whether pieces have times: a Whisper's are segments, those of a model for CTC are words. Default: false, as short
   * as possible; true for a clip that is longer than a Whisper's window.
   */
  timestamps?: boolean;
  /** The most tokens to generate. Default: as many as the model has positions for, in each window. */
  maxTokens?: number;
}

/** A piece of a transcript. */
export interface TranscriptPiece {
  /** What was said in this piece. */
  text: string;
  /** With `timestamps`: when the segment or word begins and ends, in seconds. */
  start?: number;
  /** Where the piece ends, in seconds from the start of the sound. */
  end?: number;
}

/** The decoder's replacement for bytes that are not, or not yet, a character. */
const UNFINISHED = '\ufffd';

/** The rate of models whose preprocessor says nothing. */
const USUAL_RATE = 16_000;

/**
 * Transcribes a clip with a Whisper, wav2vec 2.0 or HuBERT of the hub, piece by piece.
 *
 * A Whisper takes the likeliest token each time, as in `generate` of transformers. The encoder computes a window of
 * 30 s once, and the decoder one position for each token, with cached keys and values. With timestamps, or if the clip
 * is longer, windows follow each other: each begins where the last complete segment ended, as in transformers.
 *
 * A model for CTC takes the likeliest character of each frame, of the whole clip at once.
 *
 * @param model of `loadTransformer`, adapted or not: `WhisperForConditionalGeneration`, `Wav2Vec2ForCTC` or
 *     `HubertForCTC`.
 * @param tokenizer the tokenizer of the model.
 * @param clip the features of one clip, as `encodeSounds` makes them: `[1, frames, bins]`, or `[1, samples]` for CTC.
 *     For a Whisper encode longer clips with `{truncate: false}`.
 * @param options the language, the task, timestamps, the most tokens, and a signal.
 * @returns the pieces of the transcript.
 * @throws LoRAError at once: `ERR_OPTION` if an option is out of range or does not apply, or the model lacks the
 *     language; `ERR_MISFIT` if the model makes no transcripts, or the clip does not fit it; `ERR_UNSUPPORTED` if its
 *     config lacks the first token. While iterating: `ERR_ABORTED`, or `ERR_NUMERIC` if a logit is not finite.
 * @example
 *     const {features} = await encodeSounds(whisper, file);
 *     for await (const {text} of transcribe(whisper, tokenizer, features, {language: 'en'})) console.log(text);
 * @experimental
 */
export function transcribe(
  model: tf.LayersModel,
  tokenizer: Pick<Tokenizer, 'decode'> & Partial<Tokenizer>,
  clip: tf.Tensor,
  options: TranscribeOptions = {},
): AsyncGenerator<TranscriptPiece, void, undefined> {
  checkOptions(options, {language: true, task: true, timestamps: true, maxTokens: true, signal: true});
  checkCallOptions(options);
  checkModel(model);
  const {timestamps, maxTokens} = options;
  if (typeof (tokenizer as Partial<Tokenizer> | null | undefined)?.decode !== 'function') {
    throw new LoRAError(`tokenizer must have a function decode, as that of loadTransformer, got ${kindOf(tokenizer)}.`);
  }
  if (maxTokens !== undefined && maxTokens !== Infinity) {
    checkCount('maxTokens', maxTokens);
  }
  if (timestamps !== undefined && typeof timestamps !== 'boolean') {
    throw new LoRAError(`timestamps must be true or false, got ${show(timestamps)}.`);
  }
  const kind = kindOfSpeech(model, 'transcribe');
  checkClip(model, clip, kind === 'ctc' ? 'samples' : 'frames');
  return kind === 'ctc' ? charactersOf(model, tokenizer, clip, options) : textOf(model, tokenizer, clip, options);
}

/** The transcript of a Whisper. */
function textOf(
  model: tf.LayersModel,
  tokenizer: Pick<Tokenizer, 'decode'> & Partial<Tokenizer>,
  clip: tf.Tensor,
  {language, task, timestamps, maxTokens = Infinity, signal}: TranscribeOptions,
): AsyncGenerator<TranscriptPiece, void, undefined> {
  const facts = speechFacts(model);
  const [window, most] = [STRIDE * positionsOf(model, 'encoder'), positionsOf(model, 'decoder')];
  const frames = clip.shape[1] as number;
  const isTimed = timestamps ?? frames > window;
  if (!isTimed && frames > window) {
    throw new LoRAError(
      `The clip has ${frames} frames, and the model hears ${window} at a time. Timestamps say where the next window ` +
        'begins: leave out timestamps, or transcribe shorter clips.',
    );
  }
  const tokens = firstTokens(facts, {language, task, timestamps: isTimed});
  const wordsOf = (ids: readonly number[]) =>
    ids.length === 0 ? '' : tokenizer.decode([...ids], {skip_special_tokens: true});
  return isTimed ? segments() : pieces();

  async function* pieces(): AsyncGenerator<TranscriptPiece, void, undefined> {
    const made: number[] = [];
    let written = '';
    const newPiece = (text: string) => {
      const piece = text.slice(written.length);
      written = text;
      return piece === '' ? [] : [{text: piece}];
    };
    for await (const token of generated(clip, maxTokens)) {
      made.push(token);
      const text = wordsOf(made);
      if (!text.endsWith(UNFINISHED)) {
        yield* newPiece(text);
      }
    }
    yield* newPiece(wordsOf(made));
  }

  async function* segments(): AsyncGenerator<TranscriptPiece, void, undefined> {
    let left = maxTokens;
    for (let seek = 0; seek < frames && left > 0;) {
      const heard = Math.min(window, frames - seek);
      const windowFeatures = tf.tidy(() => {
        const windowFrames = tf.slice(clip as tf.Tensor3D, [0, seek, 0], [1, heard, -1]);
        return tf.pad(windowFrames, [[0, 0], [0, Math.min(window, frames) - heard], [0, 0]]); // prettier-ignore
      });
      const made: number[] = [];
      try {
        for await (const token of generated(windowFeatures, left)) {
          made.push(token);
        }
      } finally {
        windowFeatures.dispose();
      }
      left -= made.length;
      const {segments: segmentsOfWindow, advance} = segmentsIn(made, facts, heard);
      for (const {start, end, tokens: textTokens} of segmentsOfWindow) {
        const text = wordsOf(textTokens);
        if (text !== '') {
          yield {text, start: secondsAt(seek / STRIDE + start), end: secondsAt(seek / STRIDE + end)};
        }
      }
      seek += advance;
    }
  }

  /** The tokens of a window, until the transcript ends. */
  async function* generated(windowFeatures: tf.Tensor, atMost: number): AsyncGenerator<number, void, undefined> {
    throwIfAborted(signal);
    const session = new SpeechSession(model, windowFeatures);
    try {
      if (tokens.includes(undefined)) {
        tokens[1] = likeliestLanguage(await session.logits(tokens.slice(0, 1) as number[]), facts);
        session.restart();
      }
      let context = tokens as number[];
      const end = Math.min(atMost, most - context.length);
      for (const made: number[] = []; made.length < end;) {
        throwIfAborted(signal);
        const token = nextToken(await session.logits(context), made, facts, isTimed);
        if (facts.ends.includes(token)) {
          return;
        }
        made.push(token);
        context = [token];
        yield token;
        await eventsRun(); // they may abort the transcription
      }
    } finally {
      session.dispose();
    }
  }
}

/** Whole hundredths, without the rounding of their sums. */
function secondsAt(position: number): number {
  return Math.round(100 * SECONDS * position) / 100;
}

/** The transcript of a model for CTC. */
function charactersOf(
  model: tf.LayersModel,
  tokenizer: Pick<Tokenizer, 'decode'> & Partial<Tokenizer>,
  clip: tf.Tensor,
  {language, task, maxTokens, timestamps = false, signal}: TranscribeOptions,
): AsyncGenerator<TranscriptPiece, void, undefined> {
  const whisperOptions = Object.entries({language, task, maxTokens}).filter(([, value]) => value !== undefined);
  if (whisperOptions.length > 0) {
    throw new LoRAError(
      `${whisperOptions.map(([name]) => name).join(' and ')} is for a Whisper; the model is for CTC.`,
    );
  }
  if (timestamps && typeof tokenizer.encode !== 'function') {
    throw new LoRAError('timestamps need a tokenizer with a function encode, as that of loadTransformer.');
  }
  return pieces();

  async function* pieces(): AsyncGenerator<TranscriptPiece, void, undefined> {
    throwIfAborted(signal);
    const classes = await likeliestClasses(model, clip);
    throwIfAborted(signal);
    const decode = (ids: number[]) => (ids.length === 0 ? '' : tokenizer.decode(ids));
    if (!timestamps) {
      const text = decode(classes);
      yield* text === '' ? [] : [{text}];
      return;
    }
    const {sampling_rate: rate} = (loadedPreprocessor(model) ?? {}) as {sampling_rate?: unknown};
    const seconds = samplesPerFrame(model) / (typeof rate === 'number' && rate > 0 ? rate : USUAL_RATE);
    const space = tokenizer.encode?.(' ', {add_special_tokens: false}).ids[0];
    for (const {text, from, to} of wordsIn(classes, model, {decode, space})) {
      yield {text, start: from * seconds, end: to * seconds};
    }
  }
}

function checkClip(model: tf.LayersModel, clip: tf.Tensor, unit: 'frames' | 'samples'): void {
  if (!((clip as unknown) instanceof tf.Tensor)) {
    throw new LoRAError(`clip must be a tensor, the features of encodeSounds, got ${kindOf(clip)}.`);
  }
  const shape = [1, unit, ...(model.inputs[0]?.shape.slice(2) ?? [])];
  const fits = (size: number, axis: number) => size > 0 && (axis === 1 || size === shape[axis]);
  if (clip.rank !== shape.length || !clip.shape.every(fits)) {
    throw misfitError(`clip must be the features of one clip, [${shape.join(', ')}], got ${showShape(clip.shape)}.`);
  }
}
