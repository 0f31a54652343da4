import {LoRAError} from '../../platform/errors';

/**
 * Computes the word error rate: the fewest words to insert, delete or replace in the transcripts to get the references,
 * divided by the number of words of the references. Words are separated by white space. Case and punctuation count, so
 * normalize texts first if they should not.
 *
 * @param references what was said, a text or a list of texts.
 * @param transcripts what was recognized, as many.
 * @returns the rate: 0 if all is right; it may exceed 1.
 * @throws LoRAError `ERR_OPTION` if the lists differ in length, an entry is not a string, or the references are empty.
 * @example
 *     wordErrorRate('switch the lamp off', 'switch a lamp'); // 0.5
 * @experimental
 */
export function wordErrorRate(references: string | readonly string[], transcripts: string | readonly string[]): number {
  return errorRate(references, transcripts, text => text.split(/\s+/).filter(word => word !== ''));
}

/**
 * Computes the character error rate: that of {@link wordErrorRate} for characters (Unicode code points), spaces
 * included. White space at the beginning and end of a text is left out, as in jiwer.
 *
 * @param references what was said, a text or a list of texts.
 * @param transcripts what was recognized, as many.
 * @returns the rate: 0 if all is right; it may exceed 1.
 * @throws LoRAError `ERR_OPTION` if the lists differ in length, an entry is not a string, or the references are empty.
 * @example
 *     characterErrorRate('lamp', 'lamb'); // 0.25
 * @experimental
 */
export function characterErrorRate(
  references: string | readonly string[],
  transcripts: string | readonly string[],
): number {
  return errorRate(references, transcripts, text => Array.from(text.trim()));
}

function errorRate(
  references: string | readonly string[],
  transcripts: string | readonly string[],
  split: (text: string) => string[],
): number {
  const [said, heard] = [listOf('references', references), listOf('transcripts', transcripts)];
  if (said.length !== heard.length) {
    throw new LoRAError(`There are ${said.length} references and ${heard.length} transcripts; each needs the other.`);
  }
  const splitReferences = said.map(split);
  const count = splitReferences.reduce((sum, units) => sum + units.length, 0);
  if (count === 0) {
    throw new LoRAError('The references are empty, so there is nothing to divide by.');
  }
  return splitReferences.reduce((sum, units, i) => sum + distance(units, split(heard[i] as string)), 0) / count;
}

function listOf(name: string, texts: string | readonly string[]): readonly string[] {
  const list: readonly unknown[] = typeof texts === 'string' ? [texts] : texts;
  if (!Array.isArray(list) || !list.every(text => typeof text === 'string')) {
    throw new LoRAError(`${name} must be a text or a list of texts.`);
  }
  return list;
}

/** The fewest insertions, deletions and replacements that make one list of another (Levenshtein). */
function distance(one: readonly string[], other: readonly string[]): number {
  let row = Array.from({length: other.length + 1}, (_, i) => i);
  one.forEach((unit, i) => {
    let diagonal = i;
    const next = [i + 1];
    other.forEach((word, j) => {
      const replaced = diagonal + Number(unit !== word);
      diagonal = row[j + 1] as number;
      next.push(Math.min(replaced, diagonal + 1, (next[j] as number) + 1));
    });
    row = next;
  });
  return row.at(-1) as number;
}
