/** Two tokens that become one. */
export type Merge = [string, string];

/** No token of so many characters comes of a merge; a file that says so would keep us busy. */
const MOST_OF_TOKEN = 1000;

/**
 * The merges that a list of tokens implies, of a file that has none: for each token every cut into two tokens, the
 * token of the highest score first. As transformers has it.
 */
export function mergesOf(tokens: readonly string[], scoreOf: (id: number) => number): Merge[] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const found: {merge: Merge; score: number; sizes: [number, number]}[] = [];
  for (const [token, id] of ids) {
    const characters = token.length > MOST_OF_TOKEN ? [] : Array.from(token);
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
    cuts.forEach(({merge, sizes}) => found.push({merge, score, sizes}));
  }
  found.sort((a, b) => b.score - a.score || b.sizes[0] - a.sizes[0] || b.sizes[1] - a.sizes[1]);
  return found.map(({merge}) => merge);
}
