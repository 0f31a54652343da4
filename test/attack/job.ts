/** One damaged file. It depends on these two alone. */
export interface Job {
  kind: string;
  seed: number;
}

/** What became of a damaged file. */
export interface Outcome {
  result: 'loaded' | 'refused' | 'fault';
  /** What is wrong, if something is. */
  what?: string;
}

/** A fault, and the file that shows it. */
export interface Fault extends Job {
  what: string;
}

/** What an attack with files of one kind gave. */
export interface KindReport {
  kind: string;
  loaded: number;
  refused: number;
  faults: Fault[];
}
