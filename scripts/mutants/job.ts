/** What a worker runs: test files in this order, with other code in the place of files. */
export interface Job {
  /** The names of the tests to run in each file; `null` for all. */
  tests: readonly (readonly [path: string, names: readonly string[] | null])[];
  /** Code by file. */
  codes: Readonly<Record<string, string>>;
  /**
   * The numbers of mutants that are switched on one after the other, in one file of tests, with the tests of each;
   * `null` for all.
   */
  mutants?: readonly (readonly [id: number, names: readonly string[] | null])[];
  /** Whether to tell which counters of files run. */
  isRecorded: boolean;
}

/** The first test that failed. */
export interface Failure {
  path: string;
  name: string;
  message: string;
}

/** Which counters of files a test ran, a bit for each, in base64. Without a name, those that ran outside of tests. */
export interface TestRun {
  name: string;
  ran: Record<string, string>;
}

/**
 * What the tests of a file say of a mutant. `unclear`: a test fails, but then also without the mutant, since earlier
 * mutants, or this one if it is the first, have left something behind, or the test needs others that were left out.
 */
export type Verdict =
  | {id: number; result: 'passed'}
  | {id: number; result: 'unclear'; isFirst: boolean}
  | {id: number; result: 'failed'; failure: Failure};

/** What a worker tells. */
export type Message =
  | {type: 'ready'}
  | {type: 'file'; path: string}
  | {type: 'mutant'; id: number}
  | {type: 'verdict'; verdict: Verdict}
  | {type: 'fileEnd'; path: string; seconds: number; runs: TestRun[]}
  | {type: 'end'; failure?: Failure; megabytes: number};
