import * as tf from '@tensorflow/tfjs';

/** Something that has to hold on every backend, of one kind of layer or of a whole model. */
export interface Case {
  /** Its row in the table. */
  behaviour: string;
  /** The kind of layer that it is about, if it is about one. */
  kind?: string;
  /** The largest deviation that is right. */
  tolerance: number;
  /**
   * The same with 16-bit floats, all that webgl has on some phones; `null` where these leave nothing to measure.
   * Default: no other.
   */
  halfTolerance?: number | null;
  /**
   * Runs it on a backend that is current, and gives the largest deviation from what is expected; throws where nothing
   * can be measured.
   */
  run(backend: string): Promise<number>;
}

/** Cases with the same tolerances, by their rows in the table. */
export function within(
  tolerances: Pick<Case, 'tolerance' | 'halfTolerance'>,
  runs: Record<string, Case['run']>,
): Case[] {
  return Object.entries(runs).map(([behaviour, run]) => ({behaviour, ...tolerances, run}));
}

/** What came of a case. */
export interface Outcome extends Omit<Case, 'run' | 'halfTolerance'> {
  /** Not there if it threw. */
  deviation?: number;
  error?: string;
}

/** Makes `backend` current, and fails rather than falling back to another. */
export async function use(backend: string): Promise<void> {
  if (!(await tf.setBackend(backend))) {
    throw new Error(`There is no backend ${backend}.`);
  }
  await tf.ready();
}

/** Runs `f` on another backend, and makes the former one current again. */
export async function elsewhere<T>(backend: string, f: () => Promise<T>): Promise<T> {
  const former = tf.getBackend();
  await use(backend);
  try {
    return await f();
  } finally {
    await use(former);
  }
}

/** Reads tensors and disposes them. */
export async function read(tensors: tf.Tensor[]): Promise<number[][]> {
  const values = await Promise.all(tensors.map(tensor => tensor.data()));
  tf.dispose(tensors);
  return values.map(value => Array.from(value));
}

/** What a model predicts. */
export async function predicts(model: tf.LayersModel, x: tf.Tensor): Promise<number[]> {
  const [values] = await read([model.predict(x) as tf.Tensor]);
  return values!;
}

/** The largest difference between two lists of numbers; NaN counts as infinite. */
export function difference(actual: readonly number[], expected: readonly number[]): number {
  if (actual.length !== expected.length) {
    throw new Error(`${actual.length} numbers instead of ${expected.length}.`);
  }
  return actual.reduce((largest, value, i) => {
    const distance = Math.abs(value - expected[i]!);
    return Number.isNaN(distance) ? Infinity : Math.max(largest, distance);
  }, 0);
}

/** The largest difference, list by list, relative to the largest of the numbers that are expected. */
export function relativeDifference(
  actual: readonly (readonly number[])[],
  expected: readonly (readonly number[])[],
): number {
  if (actual.length !== expected.length) {
    throw new Error(`${actual.length} tensors instead of ${expected.length}.`);
  }
  const differences = actual.map((values, i) => {
    const scale = expected[i]!.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    return difference(values, expected[i]!) / (scale || 1);
  });
  return Math.max(...differences);
}

/** A run of a case: how far the numbers are from those of cpu, which `expected` may compute in another way. */
export function asOnCpu(compute: () => Promise<number[][]>, expected = compute): Case['run'] {
  return async () => relativeDifference(await compute(), await elsewhere('cpu', expected));
}

/** The largest difference of lists that ought to be the same. */
export function largestDifference(
  actual: readonly (readonly number[])[],
  expected: readonly (readonly number[])[],
): number {
  if (actual.length !== expected.length) {
    throw new Error(`${actual.length} tensors instead of ${expected.length}.`);
  }
  return Math.max(0, ...actual.map((values, i) => difference(values, expected[i]!)));
}
