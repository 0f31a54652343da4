import {tooLargeError} from '../../../platform/errors';

/** Two tokens that become one. */
export type Merge = [string, string];

/** The most characters of a merged token. Longer ones in a file would take too long. */
const MAX_TOKEN_LENGTH = 256;
/** The most characters of all tokens: five times those of Gemma, which has the largest vocabulary. */
const MAX_CHARACTERS = 2 ** 23;
/** The most merges for each token; vocabularies have two or three. */
const MAX_MERGES_PER_TOKEN = 16;

/** @throws LoRAError if there are more merges than a vocabulary of this size can have. */
export function checkMerges(merges: number, tokens: number): void {
  if (merges > MAX_MERGES_PER_TOKEN * Math.max(tokens, 256)) {
    throw tooLargeError(
      `The tokenizer of the GGUF file has more than ${MAX_MERGES_PER_TOKEN} merges for each of its ` +
        `${tokens.toLocaleString('en')} tokens.`,
    );
  }
}

/**
 * Returns the merges that a list of tokens implies, for files without merges: for each token every split into two
 * tokens, with the highest-scored tokens first. As in transformers.
 *
 * @throws LoRAError if the tokens are too long, or imply too many merges.
 */
export function mergesOf(tokens: readonly string[], scoreOf: (id: number) => number): Merge[] {
  if (tokens.reduce((sum, token) => sum + token.length, 0) > MAX_CHARACTERS) {
    throw tooLargeError(
      `The tokens of the GGUF file have more than ${MAX_CHARACTERS.toLocaleString('en')} characters.`,
    );
  }
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: {merge: Merge; score: number; sizes: [number, number]}[] = [];
  for (const [token, id] of ids) {
    const characters = token.length > MAX_TOKEN_LENGTH ? [] : Array.from(token);
    const cuts: {merge: Merge; order: [number, number]; sizes: [number, number]}[] = [];
    for (let i = 1, end = 0; i < characters.length; i++) {
      end += (characters[i - 1] as string).length;
      const [left, right] = [token.slice(0, end), token.slice(end)];
      const [one, other] = [ids.get(left), ids.get(right)];
      if (one !== undefined && other !== undefined) {
        cuts.push({merge: [left, right], order: [one, other], sizes: [i, characters.length - i]});
      }
    }
    cuts.sort((a, b) => a.order[0] - b.order[0] || a.order[1] - b.order[1]);
    const score = scoreOf(id);
    cuts.forEach(({merge, sizes}) => merges.push({merge, score, sizes}));
    checkMerges(merges.length, tokens.length);
  }
  merges.sort((a, b) => b.score - a.score || b.sizes[0] - a.sizes[0] || b.sizes[1] - a.sizes[1]);
  return merges.map(({merge}) => merge);
}
