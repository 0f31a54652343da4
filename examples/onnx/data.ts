import {readFileSync} from 'node:fs';
import {packageFile} from '../shared/packages';
import {type Line, SIDE, writeLines} from './lines';

/** The digits of each kind that lines to train on are written with. Lines to test on have others. */
const TRAINED = 600;

/** Lines to train on, and others to test on. */
export interface Lines {
  train: Line[];
  test: Line[];
}

/** Lines of real handwritten digits from the `mnist` package, other ones for each seed. */
export function makeLines(counts: {train: number; test: number}, seed: number): Lines {
  const kinds = Array.from({length: 10}, (_, kind) => digitsOf(kind));
  const part = (from: number, to?: number) => kinds.flatMap(digits => digits.slice(from, to));
  return {
    train: writeLines(part(0, TRAINED), counts.train, 2 * seed),
    test: writeLines(part(TRAINED), counts.test, 2 * seed + 1),
  };
}

function digitsOf(kind: number): Float32Array[] {
  const {data} = JSON.parse(readFileSync(packageFile(`mnist/src/digits/${kind}.json`), 'utf8')) as {data: number[]};
  const size = SIDE * SIDE;
  return Array.from({length: data.length / size}, (_, i) => Float32Array.from(data.slice(i * size, (i + 1) * size)));
}
