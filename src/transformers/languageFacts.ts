import type * as tf from '@tensorflow/tfjs';

/** Under which a model keeps what a file says of its texts, adapted and saved too. */
export const LANGUAGE = 'language';

/** What a file says of the texts of a model. */
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
  const facts = metadata?.[LANGUAGE] as Partial<Record<keyof LanguageFacts, unknown>> | undefined;
  const {ends, template, tokens} = facts ?? {};
  const named = Object.entries(typeof tokens === 'object' && tokens !== null ? tokens : {});
  return {
    ...(Array.isArray(ends) && {ends: ends.filter(end => Number.isInteger(end)) as number[]}),
    ...(typeof template === 'string' && {template}),
    tokens: Object.fromEntries(named.filter((entry): entry is [string, string] => typeof entry[1] === 'string')),
  };
}
