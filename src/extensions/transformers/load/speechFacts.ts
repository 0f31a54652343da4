import type * as tf from '@tensorflow/tfjs';
import {show, throwFaults} from '../../../platform/errors';
import {hubRecordOf} from '../net/hubRecord';
import {objectOf} from './languageFacts';

/** The key in a model's metadata for how it generates transcripts. */
export const SPEECH = 'speech';

const FIELDS = [
  ...['decoder_start_token_id', 'eos_token_id', 'forced_decoder_ids', 'suppress_tokens', 'begin_suppress_tokens'],
  ...['lang_to_id', 'task_to_id', 'no_timestamps_token_id', 'max_initial_timestamp_index'],
];

/** How a model generates transcripts. */
export interface SpeechFacts {
  /** The token before a transcript. */
  start: number | undefined;
  /** The tokens that end a transcript. */
  ends: number[];
  /** Tokens that follow the first one, if neither language nor task is given; without one, the language is detected. */
  forced: (number | undefined)[];
  /** Tokens that are never generated, and those that are not generated first. */
  suppressed: number[];
  suppressedAtFirst: number[];
  /** Tokens of languages by their codes (`en`), and of tasks. */
  languages: Readonly<Record<string, number>>;
  tasks: Readonly<Record<string, number>>;
  /** The token that says that there are no timestamps. Those follow it in the vocabulary. */
  noTimestamps: number | undefined;
  /** The latest timestamp of the first segment. */
  latestFirst: number | undefined;
}

/** The fields of `generation_config.json` that count. */
export function speechFields(generation: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(FIELDS.filter(name => name in generation).map(name => [name, generation[name]]));
}

/**
 * How a model generates transcripts: by its `generation_config.json`, and where that says nothing by its config.
 *
 * @throws LoRAError if a token id is not valid.
 */
export function speechFacts(model: tf.LayersModel): SpeechFacts {
  const metadata = model.getUserDefinedMetadata() as Record<string, unknown> | undefined;
  const fields: Record<string, unknown> = {...objectOf(hubRecordOf(model)?.config), ...objectOf(metadata?.[SPEECH])};
  const vocabulary = model.outputs[0]?.shape[2] ?? Infinity;
  const faults: string[] = [];
  const tokensOf = (name: string, value: unknown, limit = vocabulary): number[] => {
    const all: unknown[] = [value].flat().filter(token => token != null);
    const wrong = all.find(
      token => !Number.isSafeInteger(token) || (token as number) < 0 || (token as number) >= limit,
    );
    if (wrong !== undefined) {
      faults.push(
        `${name} must have whole numbers from 0${limit < Infinity ? ` to ${limit - 1}` : ''}, got ${show(wrong)}.`,
      );
    }
    return all as number[];
  };
  const number = (name: string, limit?: number) => tokensOf(name, fields[name], limit)[0];
  const pairs = fields.forced_decoder_ids;
  const forced: (number | undefined)[] = [];
  for (const pair of Array.isArray(pairs) ? (pairs as unknown[]) : []) {
    const [position, token] = [pair].flat();
    if (position !== forced.length + 1) {
      break;
    }
    forced.push(tokensOf('forced_decoder_ids', token)[0]);
  }
  const tokensIn = (name: string, nameOf: (key: string) => string) => {
    const entries = Object.entries(objectOf(fields[name])).map(([key, id]) => [nameOf(key), tokensOf(name, id)[0]]);
    return Object.fromEntries(entries.filter(([, id]) => id !== undefined)) as Record<string, number>;
  };
  const facts: SpeechFacts = {
    start: number('decoder_start_token_id'),
    ends: tokensOf('eos_token_id', fields.eos_token_id),
    forced,
    suppressed: numbersIn(fields.suppress_tokens),
    suppressedAtFirst: numbersIn(fields.begin_suppress_tokens),
    languages: tokensIn('lang_to_id', name => /^<\|(.+)\|>$/.exec(name)?.[1] ?? name),
    tasks: tokensIn('task_to_id', name => name),
    noTimestamps: number('no_timestamps_token_id'),
    latestFirst: number('max_initial_timestamp_index', Infinity),
  };
  throwFaults(faults, 'ERR_UNSUPPORTED', 'The generation config of the model is not supported:');
  return facts;
}

/** The token ids in a list, or a single one, without invalid entries. */
function numbersIn(value: unknown): number[] {
  return [value].flat().filter((entry): entry is number => Number.isSafeInteger(entry) && (entry as number) >= 0);
}
