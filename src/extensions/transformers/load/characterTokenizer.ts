import {LoRAError, show, unsupportedError} from '../../../platform/errors';
import type {Tokenizer} from './tokenizer';

/**
 * The tokenizer of models for CTC, whose `vocab.json` has a token for each character: `Wav2Vec2CTCTokenizer` of
 * transformers. Decoding joins repeated tokens and leaves out the padding token, which is CTC's blank.
 *
 * @experimental
 */
export class CharacterTokenizer implements Tokenizer {
  /** The id of characters that the vocabulary lacks. */
  readonly unknown: number | undefined;
  private readonly ids: ReadonlyMap<string, number>;
  private readonly tokens: ReadonlyMap<number, string>;
  /** The lengths of tokens of several characters, the longest first. */
  private readonly lengths: readonly number[];
  private readonly special: ReadonlySet<string | undefined>;
  private readonly delimiter: string;
  private readonly padding: string;
  private readonly isUpper: boolean;

  /**
   * @param vocabulary the content of `vocab.json`.
   * @param config the content of `tokenizer_config.json`.
   * @throws LoRAError if the vocabulary is not one of tokens and ids.
   */
  constructor(vocabulary: Readonly<Record<string, unknown>>, config: Readonly<Record<string, unknown>> = {}) {
    const entries = Object.entries(vocabulary);
    const wrong = entries.find(([, id]) => !Number.isSafeInteger(id) || (id as number) < 0);
    if (wrong !== undefined || entries.length === 0) {
      throw unsupportedError(
        'vocab.json must have an id for each token' +
          (wrong === undefined ? ', and is empty.' : `, got ${show(wrong[1])} for ${show(wrong[0])}.`),
      );
    }
    this.ids = new Map(entries as [string, number][]);
    this.tokens = new Map(entries.map(([token, id]) => [id as number, token]));
    const long = [...this.ids.keys()].filter(token => Array.from(token).length > 1);
    this.lengths = [...new Set(long.map(({length}) => length))].sort((a, b) => b - a);
    const named = (name: string, otherwise: string) => {
      const setting = config[name];
      const content = typeof setting === 'object' ? ({...setting} as {content?: unknown}).content : setting;
      return typeof content === 'string' ? content : otherwise;
    };
    this.delimiter = named('word_delimiter_token', '|');
    this.padding = named('pad_token', '<pad>');
    this.isUpper = config.do_lower_case === true;
    const unknown = named('unk_token', '<unk>');
    this.unknown = this.ids.get(unknown);
    this.special = new Set([named('bos_token', '<s>'), named('eos_token', '</s>'), unknown]);
  }

  encode(text: string): {ids: number[]} {
    if (typeof text !== 'string') {
      throw new LoRAError(`text must be a string, got ${show(text)}.`);
    }
    const tokens: string[] = [];
    let from = 0;
    for (let at = 0; at < text.length; at++) {
      const token = this.longTokenAt(text, at);
      if (token !== undefined) {
        // It takes the spaces around it.
        tokens.push(...this.charactersOf(text.slice(from, at).trimEnd()), token);
        from = at + token.length;
        from += text.length - from - text.slice(from).trimStart().length;
        at = from - 1;
      }
    }
    tokens.push(...this.charactersOf(text.slice(from)));
    return {ids: tokens.map(token => this.ids.get(token) ?? this.unknown).filter(id => id !== undefined)};
  }

  /** The longest token of several characters that a text has at a position. */
  private longTokenAt(text: string, at: number): string | undefined {
    const length = this.lengths.find(length => at + length <= text.length && this.ids.has(text.slice(at, at + length)));
    return length === undefined ? undefined : text.slice(at, at + length);
  }

  private charactersOf(text: string): string[] {
    return Array.from(this.isUpper ? text.toUpperCase() : text, char => (char === ' ' ? this.delimiter : char));
  }

  decode(ids: readonly number[], {skip_special_tokens: skips = false}: {skip_special_tokens?: boolean} = {}): string {
    const tokens = ids.filter((id, i) => id !== ids[i - 1]).map(id => this.tokens.get(id) ?? '');
    const shown = tokens.filter(token => token !== this.padding && !(skips && this.special.has(token)));
    const text = shown.map(token => (token === this.delimiter ? ' ' : token)).join('').trim(); // prettier-ignore
    return this.isUpper ? text.toLowerCase() : text;
  }

  get_vocab(): ReadonlyMap<string, number> {
    return this.ids;
  }
}
