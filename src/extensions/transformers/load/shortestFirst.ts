import type {TextInput} from './tokenizer';

/** The indices of texts by length, so that texts of a batch need little padding. */
export function shortestFirst(texts: readonly TextInput[]): number[] {
  const lengthOf = (i: number) => [texts[i]].flat().join('').length;
  return texts.map((_, i) => i).sort((one, other) => lengthOf(one) - lengthOf(other));
}
