import type {BenchCase} from '../cases/case';
import type {Run} from '../measure';

/** Something that can be run, and what frees it. */
export interface Held {
  run: Run;
  dispose: () => void;
}

/** Gets a case ready to run with so many examples. */
export type Maker = (benchCase: BenchCase, examples: number) => Promise<Held>;
