import {kindOf, LoRAError} from '../../platform/errors';
import type {Tokenizer} from '../transformers/load/tokenizer';

/** @throws LoRAError if a value is no tokenizer. */
export function checkLanguageTokenizer(tokenizer: unknown): asserts tokenizer is Tokenizer {
  const {encode, decode} = (tokenizer ?? {}) as Partial<Record<keyof Tokenizer, unknown>>;
  if (typeof encode !== 'function' || typeof decode !== 'function') {
    throw new LoRAError(
      'tokenizer must have functions encode and decode, as those of loadGGUF and loadTransformer do; got ' +
        `${kindOf(tokenizer)}.`,
    );
  }
}
