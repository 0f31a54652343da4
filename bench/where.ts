import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA} from 'tfjs-lora';
import type {BenchCase} from './cases/case';
import {type Clock, now, type Run, time} from './measure';
import {handLoRA} from './byHand';
import {naiveLoRA} from './naive';
import {compile, forward, LEARNING_RATE, step} from './runs';
import {printTable} from './table';

/** What the calls of a kernel, with one set of shapes, took together. */
export interface Entry {
  phase: Phase;
  kernel: string;
  shapes: string;
  calls: number;
  ms: number;
}

/** What can be looked into. */
export const OF = ['lora', 'full', 'naive', 'by hand', 'forward'] as const;

/** Parts of a step. */
const PHASES = ['forward', 'backward', 'optimizer and rest'] as const;
export type Phase = (typeof PHASES)[number];

/** How to look. */
export interface Look {
  of: (typeof OF)[number];
  clock: Clock;
  steps: number;
  /** How many rows to print. */
  top: number;
  /** Kernels with one set of shapes each, or added up. */
  by: 'shapes' | 'kernel';
}

async function makeRun(benchCase: BenchCase, of: Look['of']): Promise<Run> {
  const base = await benchCase.build();
  const targets = benchCase.targets(base);
  // Whatever is measured, it runs on the library's kernels.
  const adapted = applyLoRA(base, targets);
  const batch = benchCase.batch();
  if (of === 'forward') {
    return forward(base, batch.xs);
  }
  const makers = {
    lora: () => adapted,
    full: () => base,
    naive: () => naiveLoRA(base, targets),
    'by hand': () => handLoRA(base, targets),
  };
  const model = await makers[of]();
  compile(model, benchCase.loss, adam({learningRate: LEARNING_RATE}));
  return step(model, batch);
}

/** Clocks functions that call each other, each without those that it calls. */
export class Stopwatch {
  /** For each function that is running: the time that the functions inside of it took. */
  private readonly inner: number[] = [];

  constructor(private readonly clock: Clock) {}

  time<Result>(run: () => Result, note: (ms: number) => void): Result {
    const start = now(this.clock);
    this.inner.push(0);
    const result = run();
    const spent = now(this.clock) - start;
    note(spent - this.inner.pop()!);
    if (this.inner.length > 0) {
      this.inner[this.inner.length - 1]! += spent;
    }
    return result;
  }
}

/**
 * Clocks every kernel of the backend while `run` runs. The kernels in place have to be synchronous, as those of wasm
 * and cpu are; tf.profile counts a kernel that calls others twice.
 */
export async function profileKernels(run: Run, stopwatch: Stopwatch): Promise<Entry[]> {
  const entries = new Map<string, Entry>();
  const kernels = tf.getKernelsForBackend(tf.getBackend()).map(config => ({config, original: config.kernelFunc}));
  for (const {config, original} of kernels) {
    config.kernelFunc = params => {
      const phase = phaseOf();
      let ms = 0;
      const outputs = stopwatch.time(
        () => original(params),
        spent => (ms = spent),
      );
      const shapes = `${shapesOf(Object.values(params.inputs))} → ${shapesOf([outputs].flat())}`;
      const key = `${phase} ${config.kernelName} ${shapes}`;
      const entry = entries.get(key) ?? {phase, kernel: config.kernelName, shapes, calls: 0, ms: 0};
      entries.set(key, {...entry, calls: entry.calls + 1, ms: entry.ms + ms});
      return outputs;
    };
  }
  try {
    await run();
  } finally {
    for (const {config, original} of kernels) {
      config.kernelFunc = original;
    }
  }
  return [...entries.values()];
}

function shapesOf(tensors: readonly (tf.TensorInfo | undefined | null)[]): string {
  return tensors.map(tensor => (tensor == null ? '–' : tensor.shape.join('×') || 'scalar')).join(', ');
}

/** The part of a step that is running; the engine tells by fields of its state. */
function phaseOf(): Phase {
  const {gradientDepth, scopeStack} = tf.engine().state as unknown as {
    gradientDepth: number;
    scopeStack: {name: string}[];
  };
  const isBackward = scopeStack.some(({name}) => name === 'backward');
  return gradientDepth > 0 ? 'forward' : isBackward ? 'backward' : 'optimizer and rest';
}

/** The entries of each kernel added up. */
function byKernel(entries: readonly Entry[]): Entry[] {
  const sums = new Map<string, Entry>();
  for (const {phase, kernel, calls, ms} of entries) {
    const key = `${phase} ${kernel}`;
    const sum = sums.get(key) ?? {phase, kernel, shapes: '', calls: 0, ms: 0};
    sums.set(key, {...sum, calls: sum.calls + calls, ms: sum.ms + ms});
  }
  return [...sums.values()];
}

/** Prints where the time of a step goes, part by part and kernel by kernel, without what a kernel spends in others. */
export async function printWhere(benchCase: BenchCase, look: Look): Promise<void> {
  await printKernels(`${benchCase.title()}\n\n${look.of}`, await makeRun(benchCase, look.of), look);
}

/** Does so for any run. */
export async function printKernels(title: string, run: Run, look: Omit<Look, 'of'>): Promise<void> {
  const {clock, steps, top, by} = look;
  await time(run, 3);
  const total = await time(run, steps, clock);
  const all = await profileKernels(async () => {
    await time(run, steps);
  }, new Stopwatch(clock));
  const sum = (entries: readonly Entry[]) => entries.reduce((ms, entry) => ms + entry.ms, 0) / steps;
  console.log(`\n## ${title}: ${total.toFixed(1)} ms; clocked in other runs, means of ${steps}:\n`);
  printTable(
    ['part', 'ms', 'launches'],
    PHASES.map(phase => {
      const entries = all.filter(entry => entry.phase === phase);
      // An operation of the library runs as a kernel around the real ones.
      const launches = entries.filter(({kernel}) => !kernel.startsWith('TfjsLoRA'));
      return [
        phase,
        sum(entries).toFixed(1),
        String(launches.reduce((calls, entry) => calls + entry.calls, 0) / steps),
      ];
    }),
  );
  const rows = (by === 'kernel' ? byKernel(all) : all).sort((a, b) => b.ms - a.ms).slice(0, top);
  console.log();
  printTable(
    ['part', 'kernel', 'calls', 'ms', '%', 'shapes'],
    rows.map(({phase, kernel, calls, ms, shapes}) => [
      ...[phase, kernel, String(calls / steps), (ms / steps).toFixed(2)],
      ...[((100 * ms) / steps / sum(all)).toFixed(1), shapes],
    ]),
  );
}
