import {samples} from '../shared/emoji';
import {shuffled} from '../shared/random';

/** A drawing with its class, as the body of an SVG of 32 × 32 units. */
export interface Drawing {
  label: number;
  body: string;
}

const ALL = samples(5, 0, 22);

/** What the drawings are of. */
export const KINDS = [...new Set(ALL.map(({kind}) => kind))];

/** Twenty-two drawings of each kind. */
export const DRAWINGS: readonly Drawing[] = ALL.map(({kind, body}) => ({label: KINDS.indexOf(kind), body}));

/** Chooses training and test drawings of each kind, differently for each seed. */
export function choose(counts: {train: number; test: number}, seed: number): {train: number[]; test: number[]} {
  const kinds = KINDS.map((_, kind) => {
    const own = DRAWINGS.flatMap(({label}, i) => (label === kind ? [i] : []));
    return shuffled(own, 100 * seed + kind);
  });
  return {
    train: kinds.flatMap(own => own.slice(0, counts.train)),
    test: kinds.flatMap(own => own.slice(counts.train, counts.train + counts.test)),
  };
}
