/** A vocabulary of subwords with their log probabilities. */
export type Vocabulary = readonly (readonly [piece: string, score: number])[];

/** The unknown token. */
const UNKNOWN = 0;
/** The number of special tokens at the beginning of the vocabulary. */
const RESERVED = 6;
const SPACE = '\u2581';

/**
 * Tokenizes a text into the most likely sequence of subwords, and returns their ids.
 * (Kudo, "Subword Regularization", arXiv 1804.10959, §3.2; the unigram model of SentencePiece.)
 */
export function makeCutter(vocabulary: Vocabulary): (text: string) => number[] {
  const pieces = new Map(vocabulary.map(([piece, score], id) => [piece, {id, score}]));
  vocabulary.slice(0, RESERVED).forEach(([piece]) => pieces.delete(piece));
  const longest = Math.max(...[...pieces.keys()].map(({length}) => length));
  const unlikely = Math.min(...vocabulary.map(([, score]) => score)) - 10;
  return text => {
    const signs = Array.from(SPACE + text.normalize('NFKC').trim().replace(/\s+/g, SPACE));
    // The best path to each position: its score, its last subword, and where that begins.
    const best = [{score: 0, id: UNKNOWN, from: 0}];
    for (let end = 1; end <= signs.length; end++) {
      let way = {score: best[end - 1]!.score + unlikely, id: UNKNOWN, from: end - 1};
      for (let from = Math.max(0, end - longest); from < end; from++) {
        const piece = pieces.get(signs.slice(from, end).join(''));
        if (piece !== undefined && best[from]!.score + piece.score > way.score) {
          way = {score: best[from]!.score + piece.score, id: piece.id, from};
        }
      }
      best.push(way);
    }
    const ids: number[] = [];
    for (let end = signs.length; end > 0; end = best[end]!.from) {
      const {id} = best[end]!;
      if (id !== UNKNOWN || ids[0] !== UNKNOWN) {
        ids.unshift(id);
      }
    }
    return ids;
  };
}
