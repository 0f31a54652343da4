import type * as tf from '@tensorflow/tfjs';
import {hubRecordOf} from '../net/hubRecord';

/** The key in a model's metadata for its text settings. */
export const LANGUAGE = 'language';

/** The text settings in a model's files. */
export interface LanguageFacts {
  /** The tokens that end a text. */
  ends?: number[];
  /** The chat template, in Jinja. */
  template?: string;
  /** Special tokens that templates refer to: `bos_token`, `eos_token`. */
  tokens?: Readonly<Record<string, string>>;
}

/** The text settings of a model. */
export function languageFacts(model: tf.LayersModel): LanguageFacts {
  const metadata = model.getUserDefinedMetadata() as Record<string, unknown> | undefined;
  const {ends, template, tokens} = objectOf(metadata?.[LANGUAGE]);
  const {eos_token_id: ofConfig} = objectOf(hubRecordOf(model)?.config);
  return {
    ends: [...new Set([...numbersIn(ofConfig), ...numbersIn(ends)])],
    ...(typeof template === 'string' && {template}),
    tokens: textsIn(tokens),
  };
}

/**
 * Reads the text settings from the hub's files next to the weights.
 *
 * @param generation `generation_config.json`.
 * @param tokenizer `tokenizer_config.json`.
 * @param template `chat_template.jinja`, which takes precedence over the template in `tokenizer_config.json`.
 */
export function hubFacts(generation: object, tokenizer: object, template: string | undefined): LanguageFacts {
  const {eos_token_id: ends} = objectOf(generation);
  const {chat_template: templateField, ...fields} = objectOf(tokenizer);
  // Several templates have names: one for chats, others for tools.
  const listed = [templateField].flat().map(template => objectOf(template));
  const chosen = template ?? listed.find(({name}) => name === 'default')?.template ?? templateField;
  const tokens = Object.entries(fields).map(([name, token]) => [name, objectOf(token).content ?? token] as const);
  return {
    ends: numbersIn(ends),
    ...(typeof chosen === 'string' && {template: chosen}),
    tokens: textsIn(Object.fromEntries(tokens.filter(([name]) => name.endsWith('_token')))),
  };
}

export function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** The integers in a list, or a single one. */
function numbersIn(value: unknown): number[] {
  return [value].flat().filter((entry): entry is number => Number.isInteger(entry));
}

function textsIn(value: unknown): Record<string, string> {
  const entries = Object.entries(objectOf(value));
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}
