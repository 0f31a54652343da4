import {kindOf, LoRAError} from '../../platform/errors';
import type {ChatTemplate} from '../transformers/load/peers';
import type {TextTokenizer} from '../transformers/load/tokenizer';
import type {Decoder} from './textPieces';

/** The tokenizer that generation needs. `loadGGUF` and `loadTransformer` make one with `@huggingface/tokenizers`. */
export interface LanguageTokenizer extends TextTokenizer, Decoder {
  encode(
    text: string,
    options?: {add_special_tokens?: boolean; text_pair?: string | null; return_token_type_ids?: boolean | null},
  ): {ids: number[]; token_type_ids?: number[]};
  /** Renders messages as the text that the model was trained with. */
  readonly chatTemplate?: ChatTemplate;
}

/** @throws LoRAError if a value is no tokenizer. */
export function checkLanguageTokenizer(tokenizer: unknown): asserts tokenizer is LanguageTokenizer {
  const {encode, decode} = (tokenizer ?? {}) as Partial<Record<keyof LanguageTokenizer, unknown>>;
  if (typeof encode !== 'function' || typeof decode !== 'function') {
    throw new LoRAError(
      'tokenizer must have functions encode and decode, as those of loadGGUF and loadTransformer do; got ' +
        `${kindOf(tokenizer)}.`,
    );
  }
}
