import {type Profiler, Session} from 'node:inspector/promises';

/** Counts calls. Beginning takes longer than counting, and V8 optimizes nothing until it ends. */
class CallCounter {
  private readonly session = new Session();

  async begin(): Promise<void> {
    this.session.connect();
    await this.session.post('Profiler.enable');
    await this.session.post('Profiler.startPreciseCoverage', {callCount: true, detailed: false});
  }

  async end(): Promise<void> {
    await this.session.post('Profiler.stopPreciseCoverage');
    this.session.disconnect();
  }

  /** The calls since the count before. */
  async count(): Promise<number> {
    const {result} = await this.session.post('Profiler.takePreciseCoverage');
    return result.filter(isCounted).reduce((sum, {functions}) => sum + callsIn(functions), 0);
  }
}

function isCounted({url}: Profiler.ScriptCoverage): boolean {
  return url.includes('/src/') || url.includes('/node_modules/@tensorflow/');
}

function callsIn(functions: readonly Profiler.FunctionCoverage[]): number {
  return functions.reduce((sum, {ranges}) => sum + (ranges[0]?.count ?? 0), 0);
}

/**
 * Returns a function for the tests of this block that counts the calls of functions, of the library and of TensorFlow.js, until
 * each of some pieces of work has ended. Unlike a time, this number is the same on every machine, whatever else that
 * one does. Functions of the engine and passes through a loop do not count.
 */
export function countingCalls(): (...works: (() => unknown)[]) => Promise<number[]> {
  const counter = new CallCounter();
  beforeAll(() => counter.begin());
  afterAll(() => counter.end());
  return async (...works) => {
    await counter.count();
    const counts: number[] = [];
    for (const work of works) {
      await work();
      counts.push(await counter.count());
    }
    return counts;
  };
}

/**
 * Expects that twice the size takes no more than about twice the calls.
 *
 * @param prepare prepares work of a size, which does not count, and returns the work.
 */
export async function expectLinear(
  callsOf: ReturnType<typeof countingCalls>,
  size: number,
  prepare: (size: number) => (() => unknown) | Promise<() => unknown>,
): Promise<void> {
  const [once, twice] = (await callsOf(await prepare(size), await prepare(2 * size))) as [number, number];
  expect(once).toBeGreaterThan(size);
  expect(twice / once).toBeLessThan(2.2);
}
