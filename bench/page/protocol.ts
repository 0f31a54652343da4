import type {KernelSource} from '../../src/backends/shared/capabilities';

/** What is measured where a device has it. */
export const BACKENDS = ['cpu', 'wasm', 'webgl', 'webgpu'] as const;
export type BackendName = (typeof BACKENDS)[number];

/** The cases of `bench/cases`, each with as many examples as a page has time for. */
export const EXAMPLES = {mlp: 64, conv: 4, mobilenet: 2, superres: 2, transformer: 4} as const;
export type CaseName = keyof typeof EXAMPLES;
export const CASE_NAMES = Object.keys(EXAMPLES) as CaseName[];

/** What cpu is measured with, which computes in plain JavaScript: one case alone, few examples and no full step. */
export const TINY = {mlp: 4} as const satisfies Partial<Record<CaseName, number>>;

/** What is clocked. */
export const RUN_NAMES = ['predict', 'lora', 'full'] as const;
export type RunName = (typeof RUN_NAMES)[number];

/** What is measured in a worker that has not loaded the library, and in one that has. */
export const RUNS = {stock: ['predict', 'full'], library: RUN_NAMES} as const;
export type SideName = keyof typeof RUNS;

/** What a worker has to do, again and again. */
export interface Task {
  name: CaseName;
  examples: number;
  run: string;
}

/** What is known of a backend that has started. */
export interface Started {
  tfjs: string;
  /** Threads of wasm. */
  threads?: number;
  simd?: boolean;
  /** Bits of the floats that webgl computes with. */
  floatBits?: 16 | 32;
}

/** What one run takes beside time. */
export interface Counts {
  /** Programs that the graphics card is asked to run; `null` where there is no card. */
  launches: number | null;
  /** Peak bytes of distinct tensors, with nothing else in memory. */
  peakBytes: number;
}

/** What is asked of a worker that measures. */
export interface Engine {
  /** @throws Error if the device does not have the backend. */
  start(backend: BackendName, side: SideName): Promise<Started>;
  /** The title of a case. */
  titleOf(task: Task): Promise<string>;
  count(task: Task): Promise<Counts>;
  /** Milliseconds for each of `repeats` runs. What it takes to run stays in memory until `release`. */
  sample(task: Task, repeats: number): Promise<number>;
  release(): Promise<void>;
  /**
   * Starts a backend, in a worker that has measured nothing, and runs computations on it that code of the library's own
   * takes part in.
   *
   * @param wanted parts of the names of the trials to run; none: all.
   */
  tryOut(backend: BackendName, wanted: readonly string[]): Promise<Trials>;
}

/** What came of a computation by code of the library's own, against the same without it. */
export interface TrialOutcome {
  name: string;
  /** The largest deviation that is right, relative to the largest number. */
  tolerance: number;
  /** The deviation from what cpu computes. */
  own?: number;
  /** The same of tfjs's own kernels. */
  composed?: number;
  error?: string;
}

/** What came of all trials on a backend. */
export interface Trials {
  /** What the library has found out by itself, when it was loaded. */
  atStart: {name: string; works: boolean}[];
  source: KernelSource;
  outcomes: TrialOutcome[];
}

/** How far the trials are. */
export interface TrialNews {
  done: number;
  total: number;
  name: string;
}
