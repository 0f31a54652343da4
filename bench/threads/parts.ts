import {Native} from '../../src/backends/wasm/module/native';
import {type Clock, now, type Run} from '../measure';
import {profileKernels, Stopwatch} from '../where';

/** What a run would take with a number of threads, from the times that its parts take one after the other. */
export interface Split {
  /** Milliseconds of the whole run, on one thread. */
  ms: number;
  /** Milliseconds of it that are divided into parts. */
  divided: number;
  /** Milliseconds of the longest part of each round, added up. */
  longest: number;
  rounds: number;
  /** Milliseconds that stay on one thread, by kernel, the longest first; `''` stands for all outside of kernels. */
  serial: [kernel: string, ms: number][];
}

/**
 * Runs something on one thread as it would be divided among several, and clocks each part. Threads take a part each, so
 * that a round takes as long as its longest. This leaves out what calling threads costs, and that they share memory.
 */
export async function splitRun(run: Run, threads: number, repeats: number, clock: Clock): Promise<Split> {
  const {prototype} = Native;
  const names = ['runParts', 'threadCount'] as const;
  const before = names.map(name => Object.getOwnPropertyDescriptor(prototype, name)!);
  const stopwatch = new Stopwatch(clock);
  let [divided, longest, rounds] = [0, 0, 0];
  Object.defineProperty(prototype, 'threadCount', {configurable: true, get: () => threads});
  const divide: Native['runParts'] = function (this: Native, parts, compute) {
    const run = (i: number) => compute(this.functions, parts[i]!, i);
    if (parts.length === 1) {
      run(0);
      return;
    }
    const times: number[] = [];
    parts.forEach((_, i) =>
      stopwatch.time(
        () => run(i),
        ms => times.push(ms),
      ),
    );
    rounds++;
    divided += times.reduce((sum, ms) => sum + ms, 0);
    longest += Math.max(...times);
  };
  Object.defineProperty(prototype, 'runParts', {configurable: true, value: divide});
  try {
    let ms = 0;
    const entries = await profileKernels(async () => {
      const begin = now(clock);
      for (let i = 0; i < repeats; i++) {
        await run();
      }
      ms = now(clock) - begin;
    }, stopwatch);
    const serial = new Map<string, number>();
    entries.forEach(({kernel, ms: own}) => serial.set(kernel, (serial.get(kernel) ?? 0) + own));
    serial.set('', ms - divided - [...serial.values()].reduce((sum, own) => sum + own, 0));
    return {
      ...{ms: ms / repeats, divided: divided / repeats, longest: longest / repeats, rounds: rounds / repeats},
      serial: [...serial].map(([kernel, own]): [string, number] => [kernel, own / repeats]).sort((a, b) => b[1] - a[1]),
    };
  } finally {
    names.forEach((name, i) => Object.defineProperty(prototype, name, before[i]!));
  }
}
