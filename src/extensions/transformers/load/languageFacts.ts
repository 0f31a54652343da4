import type * as tf from '@tensorflow/tfjs';
import {hubRecordOf} from '../net/hubRecord';

/** Under which a model keeps what its files say of its texts, adapted and saved too. */
export const LANGUAGE = 'language';

/** What files say of the texts of a model. */
export interface LanguageFacts {
  /** The tokens that end a text. */
  ends?: number[];
  /** How a talk becomes a text, as a template of Jinja. */
  template?: string;
  /** Tokens that templates know by names: `bos_token`, `eos_token`. */
  tokens?: Readonly<Record<string, string>>;
}

/** What a model knows of its texts. */
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
 * What the hub's files beside the weights of a model say of its texts.
 *
 * @param generation `generation_config.json`.
 * @param tokenizer `tokenizer_config.json`.
 * @param template `chat_template.jinja`, which counts before the template that stands in the former.
 */
export function hubFacts(generation: object, tokenizer: object, template: string | undefined): LanguageFacts {
  const {eos_token_id: ends} = objectOf(generation);
  const {chat_template: given, ...fields} = objectOf(tokenizer);
  // Several have names: one for talks, others for tools.
  const listed = [given].flat().map(each => objectOf(each));
  const chosen = template ?? listed.find(({name}) => name === 'default')?.template ?? given;
  const tokens = Object.entries(fields).map(([name, token]) => [name, objectOf(token).content ?? token] as const);
  return {
    ends: numbersIn(ends),
    ...(typeof chosen === 'string' && {template: chosen}),
    tokens: textsIn(Object.fromEntries(tokens.filter(([name]) => name.endsWith('_token')))),
  };
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** The whole numbers in a list, or the one that stands for it. */
function numbersIn(value: unknown): number[] {
  return [value].flat().filter((each): each is number => Number.isInteger(each));
}

function textsIn(value: unknown): Record<string, string> {
  const entries = Object.entries(objectOf(value));
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}
