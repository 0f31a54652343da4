import {asLoRAError, kindOf, LoRAError, messageOf, unsupportedError} from '../../../platform/errors';

/** A tokenizer class, such as `Tokenizer` of `@huggingface/tokenizers`. */
export type TokenizerClass<T = unknown> = new (
  tokenizerJson: Record<string, unknown>,
  tokenizerConfig: Record<string, unknown>,
) => T;

/** Renders chats as text in the format of the model. */
export interface ChatTemplate {
  /** @param values `messages`, `add_generation_prompt`, and the special tokens by name. */
  render(values: Record<string, unknown>): string;
}

/** A chat template class, such as `Template` of `@huggingface/jinja`. */
export type TemplateClass = new (source: string) => ChatTemplate;

/** Classes to use instead of the optional peer dependencies. */
export interface PeerClasses<T> {
  /** The class `Tokenizer` of `@huggingface/tokenizers`. Default: the package is imported when it is needed. */
  Tokenizer?: TokenizerClass<T>;
  /** The class `Template` of `@huggingface/jinja`. Default: the package is imported when it is needed. */
  Template?: TemplateClass;
}

/** The hub's `tokenizer.json` and `tokenizer_config.json`, and the chat template of the model. */
export interface TokenizerSource {
  readonly tokenizerJson: Record<string, unknown>;
  readonly tokenizerConfig: Record<string, unknown>;
  readonly template: string | undefined;
}

/** @throws LoRAError if a value is not a class. */
export function checkPeerClasses(classes: PeerClasses<unknown>): void {
  for (const name of ['Tokenizer', 'Template'] as const) {
    if (classes[name] !== undefined && typeof classes[name] !== 'function') {
      const peer = name === 'Tokenizer' ? 'tokenizers' : 'jinja';
      throw new LoRAError(
        `${name} must be a class, such as that of @huggingface/${peer}, got ${kindOf(classes[name])}.`,
      );
    }
  }
}

/**
 * Makes a tokenizer that carries its chat template. Without given classes it imports the peers
 * `@huggingface/tokenizers` and, if there is a template, `@huggingface/jinja`.
 *
 * @throws LoRAError with code `ERR_UNSUPPORTED` if `@huggingface/tokenizers` is not installed, or refuses the files.
 */
export async function makeTokenizer<T>(
  {tokenizerJson, tokenizerConfig, template}: TokenizerSource,
  classes: PeerClasses<T>,
): Promise<T & {chatTemplate?: ChatTemplate}> {
  const Tokenizer = classes.Tokenizer ?? (await importTokenizer<T>());
  const chatTemplate = template === undefined ? undefined : await chatTemplateOf(template, classes.Template);
  try {
    const tokenizer = new Tokenizer(tokenizerJson, tokenizerConfig) as T & object;
    const made = madeOf(tokenizer, {'tokenizer.json': tokenizerJson, 'tokenizer_config.json': tokenizerConfig});
    return Object.assign(made, chatTemplate && {chatTemplate});
  } catch (error) {
    throw asLoRAError(error, "The tokenizer cannot be built from the model's files", 'ERR_UNSUPPORTED');
  }
}

/** The files that tokenizers were made from. */
const FILES = new WeakMap<object, Record<string, object>>();

/** Remembers the files that a tokenizer was made of. */
export function madeOf<T extends object>(tokenizer: T, files: Record<string, object>): T {
  FILES.set(tokenizer, files);
  return tokenizer;
}

/** The files that a tokenizer was made of, by their names; `undefined` if it was not made here. */
export function tokenizerFiles(tokenizer: unknown): Record<string, string> | undefined {
  const files = typeof tokenizer === 'object' && tokenizer !== null ? FILES.get(tokenizer) : undefined;
  return files && Object.fromEntries(Object.entries(files).map(([name, json]) => [name, JSON.stringify(json)]));
}

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/**
 * A tokenizer with further tokens, of the class of the given one.
 *
 * @throws LoRAError if the tokenizer was not made here, from files.
 */
export function extendedTokenizer<T extends object>(tokenizer: T, added: readonly AddedToken[]): T {
  const files = FILES.get(tokenizer);
  if (files === undefined) {
    throw new LoRAError('tokenizer must be that of loadTransformer or loadGGUF: tokens are added to its files.');
  }
  const {'tokenizer.json': tokenizerFile, 'tokenizer_config.json': config} = files as Record<
    string,
    Record<string, unknown>
  >;
  const {added_tokens: before = []} = tokenizerFile as {added_tokens?: object[]};
  const how = {single_word: false, lstrip: false, rstrip: false};
  // As in transformers, which looks for ordinary tokens in texts as they are after normalization.
  const addedTokens = added.map(token => ({...token, ...how, normalized: !token.special}));
  const json = {...tokenizerFile, added_tokens: [...before, ...addedTokens]};
  const Tokenizer = tokenizer.constructor as TokenizerClass<T>;
  const extended = new Tokenizer(json, config ?? {});
  FILES.set(extended, {'tokenizer.json': json, 'tokenizer_config.json': config ?? {}});
  const {chatTemplate} = tokenizer as {chatTemplate?: ChatTemplate};
  return Object.assign(extended, chatTemplate && {chatTemplate});
}

async function importTokenizer<T>(): Promise<TokenizerClass<T>> {
  try {
    const {Tokenizer} = await import('@huggingface/tokenizers');
    return Tokenizer as unknown as TokenizerClass<T>;
  } catch (error) {
    throw missing('@huggingface/tokenizers', 'The tokenizer of the model', '{Tokenizer}', error);
  }
}

/**
 * The template is compiled when it is first used, so that a model with an unsupported template still generates text.
 */
async function chatTemplateOf(source: string, templateClass: TemplateClass | undefined): Promise<ChatTemplate> {
  let Template = templateClass;
  let reason: unknown;
  try {
    Template ??= (await import('@huggingface/jinja')).Template;
  } catch (error) {
    reason = error;
  }
  let compiled: ChatTemplate | undefined;
  return {
    render: values => {
      if (Template === undefined) {
        throw missing('@huggingface/jinja', 'The chat template of the model', '{Template}', reason);
      }
      compiled ??= new Template(source);
      return compiled.render(values);
    },
  };
}

function missing(peer: string, what: string, option: string, cause: unknown): LoRAError {
  return unsupportedError(
    `${what} needs ${peer}, which cannot be imported (${messageOf(cause)}). Install it, npm install ${peer}, or pass ` +
      `its class, ${option}.`,
    {cause},
  );
}
