import * as tf from '@tensorflow/tfjs';
import {checkModel} from '../../platform/tfjs/checkModel';
import {checkOptions, kindOf, LoRAError, misfitError, show} from '../../platform/errors';
import {speechFacts} from '../transformers/load/speechFacts';
import {checkTokenizer, type Tokenizer} from '../transformers/load/tokenizer';
import {firstTokens} from './transcriptRules';
import {kindOfSpeech, positionsOf} from './speechModel';

/** Options of `encodeTranscripts`, for a Whisper. */
export interface EncodeTranscriptsOptions {
  /** The code of the language that is spoken, such as `'en'`. Default: that of the model's config. */
  language?: string;
  /** `'transcribe'`, or `'translate'` to English. Default: that of the model's config. */
  task?: 'transcribe' | 'translate';
}

/** Encoded transcripts. */
export interface EncodedTranscripts {
  /** The model's inputs beside those of `encodeSounds`: `decoderIds`, if it has them. */
  inputs: tf.Tensor[];
  /** The tokens before each target, `[texts, length]`: the second input of a Whisper. Models for CTC have none. */
  decoderIds?: tf.Tensor2D;
  /** The tokens to learn, `[texts, length]`, with −100 at the end of shorter ones. */
  targets: tf.Tensor2D;
}

/** The target that does not count. */
const IGNORED = -100;

/**
 * Encodes transcripts as the targets of a model that `compileModel` compiled, in the tokens of the model: for a Whisper
 * with the tokens of language and task before and the end after, as labels in transformers; for wav2vec 2.0 and HuBERT
 * the characters of each transcript.
 *
 * Whisper's transcripts begin with a space, which is added if it is missing.
 *
 * @param model of `loadTransformer`, adapted or not: `WhisperForConditionalGeneration`, `Wav2Vec2ForCTC` or
 *     `HubertForCTC`.
 * @param tokenizer the tokenizer of the model.
 * @param texts what is said in each clip.
 * @param options the language and the task of a Whisper.
 * @returns the targets, and for a Whisper the tokens before them, in `inputs` too. Dispose of both after use.
 * @throws LoRAError `ERR_OPTION` if a text is not a string, or an option does not apply; `ERR_MISFIT` if the model has
 *     no transcripts, a text is longer than its positions, or has characters that the vocabulary of a model for CTC
 *     lacks.
 * @example
 *     const sounds = await encodeSounds(whisper, files);
 *     const transcripts = encodeTranscripts(whisper, tokenizer, ['Switch the lamp off.'], {language: 'en'});
 *     await whisper.fit([...sounds.inputs, ...transcripts.inputs], transcripts.targets);
 * @experimental
 */
export function encodeTranscripts(
  model: tf.LayersModel,
  tokenizer: Pick<Tokenizer, 'encode' | 'get_vocab'>,
  texts: readonly string[],
  options: EncodeTranscriptsOptions = {},
): EncodedTranscripts {
  checkOptions(options, {language: true, task: true});
  checkModel(model);
  checkTokenizer(tokenizer);
  if (!Array.isArray(texts) || texts.length === 0 || !texts.every(text => typeof text === 'string')) {
    throw new LoRAError(`texts must be a list of texts, got ${kindOf(texts)}.`);
  }
  const kind = kindOfSpeech(model, 'encodeTranscripts');
  if (kind === 'ctc') {
    if (options.language !== undefined || options.task !== undefined) {
      throw new LoRAError('language and task are for a Whisper; the model is for CTC.');
    }
    const classes = model.outputs[0]?.shape[2] ?? Infinity;
    return {
      inputs: [],
      targets: rows(
        texts.map(text => charactersOf(tokenizer, text, classes)),
        IGNORED,
      ),
    };
  }
  const facts = speechFacts(model);
  const {language, task} = options;
  const first = firstTokens(facts, {language, task, timestamps: false});
  const [end] = facts.ends;
  if (first.includes(undefined) || end === undefined) {
    throw new LoRAError(
      end === undefined
        ? 'The config of the model has no eos_token_id, the token after a transcript.'
        : `language must be one of ${Object.keys(facts.languages).join(', ')}, since the model has several.`,
    );
  }
  const most = positionsOf(model, 'decoder');
  const sequences = texts.map((text, i) => {
    const {ids} = tokenizer.encode(/^\s/.test(text) ? text : ` ${text}`, {add_special_tokens: false});
    const all = [...(first as number[]), ...ids, end];
    if (all.length - 1 > most) {
      throw misfitError(
        `Text ${i} has ${all.length - 1} tokens with those before it, but the model has ${most} positions. Cut the ` +
          'clip and its text into shorter ones.',
      );
    }
    return all;
  });
  const decoderIds = rows(sequences.map(all => all.slice(0, -1)), end); // prettier-ignore
  const targets = rows(sequences.map(all => all.slice(1)), IGNORED); // prettier-ignore
  return {inputs: [decoderIds], decoderIds, targets};
}

/** @throws LoRAError if the vocabulary lacks a character: it would be trained to be unknown. */
function charactersOf(
  tokenizer: Pick<Tokenizer, 'encode'> & {unknown?: number | undefined},
  text: string,
  classes: number,
): readonly number[] {
  const idsOf = (characters: string) => tokenizer.encode(characters, {add_special_tokens: false}).ids;
  const ids = idsOf(text);
  const {unknown} = tokenizer;
  const isKnown = (character: string) => idsOf(character).length > 0 && !idsOf(character).includes(unknown ?? -1);
  const missing = [...new Set(Array.from(text))].filter(char => char.trim() !== '' && !isKnown(char));
  if (unknown !== undefined && ids.includes(unknown)) {
    throw misfitError(
      `The vocabulary of the model lacks ${missing.map(show).join(', ') || 'a token'} in ${show(text)}. Spell texts with ` +
        'its characters, for example with text.toUpperCase().',
    );
  }
  const wrong = ids.find(id => id >= classes);
  if (wrong !== undefined) {
    throw misfitError(
      `The tokenizer does not match the model: it returns the id ${wrong}, but the model has ${classes} tokens.`,
    );
  }
  return ids;
}

/** Lists of different lengths as one tensor. */
function rows(lists: readonly (readonly number[])[], filler: number): tf.Tensor2D {
  const length = lists.reduce((most, list) => Math.max(most, list.length), 1);
  const filled = lists.map(list => [...list, ...new Array<number>(length - list.length).fill(filler)]);
  return tf.tensor2d(filled, [lists.length, length], 'int32');
}
