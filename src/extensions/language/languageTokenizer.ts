import {kindOf, LoRAError} from '../../platform/errors';
import type {Decoder} from './textPieces';

/** What a tokenizer must have to write. The `Tokenizer` of `@huggingface/tokenizers` has it. */
export interface LanguageTokenizer extends Decoder {
  encode(text: string, options?: {add_special_tokens?: boolean}): {ids: readonly number[]};
}

/** @throws LoRAError if it is none. */
export function checkLanguageTokenizer(tokenizer: unknown): asserts tokenizer is LanguageTokenizer {
  const {encode, decode} = (tokenizer ?? {}) as Partial<Record<keyof LanguageTokenizer, unknown>>;
  if (typeof encode !== 'function' || typeof decode !== 'function') {
    throw new LoRAError(
      'A tokenizer is needed, with functions encode and decode, such as loadGGUF gives with {Tokenizer}; got ' +
        `${kindOf(tokenizer)}.`,
    );
  }
}
