import {remote} from '../../examples/shared/worker';
import {version} from '../../package.json';
import {type Contender, firstLine, measure, ratioOf, timeOf} from '../measure';
import {describeDevice} from './device';
import {
  type BackendName,
  type CaseName,
  type Counts,
  type Engine,
  EXAMPLES,
  type RunName,
  RUNS,
  type SideName,
  type Task,
  TINY,
  type TrialNews,
} from './protocol';
import {type BackendResult, type CaseResult, type Result, RUN_TITLES} from './result';

/** What the visitor wants to have measured. */
export interface Wish {
  backends: readonly BackendName[];
  cases: readonly CaseName[];
  runs: readonly RunName[];
  rounds: number;
  /** Whether the library's own code is compared with tfjs's kernels. */
  trials: boolean;
  /** Parts of the names of the trials to run; none: all. */
  wanted: readonly string[];
  /** Fewer examples in each batch. */
  examples?: number;
}

/** What is told meanwhile. */
export interface Listener {
  /** The share that is done, and what is being done. */
  onProgress: (share: number, doing: string) => void;
  /** Called when there is more of the result. */
  onResult: (result: Result) => void;
}

/** A sample lasts at least so many milliseconds. */
const SAMPLE_MS = 50;
/** `measure` takes so many samples before the rounds. */
const WARM_UP = 2;
/** How much of the bar the trials of a backend have, in cases. */
const TRIALS_SHARE = 1;

const STOPPED = new Error('Stopped.');

/** Workers that are ended when the visitor stops, and with their backend. */
class Workers {
  private readonly running = new Set<Worker>();
  private readonly stopped: Promise<never>;

  constructor(private readonly signal: AbortSignal) {
    this.stopped = new Promise((_, reject) => {
      signal.addEventListener('abort', () => {
        this.end();
        reject(STOPPED);
      });
    });
    this.stopped.catch(() => undefined); // whoever waits hears of it
  }

  /** Starts one. */
  start(onNews: (news: TrialNews) => void = () => undefined): Engine {
    const worker = new Worker(new URL('worker.ts', import.meta.url), {type: 'module'});
    this.running.add(worker);
    return remote<Engine, TrialNews>(worker, onNews);
  }

  end(): void {
    this.running.forEach(worker => worker.terminate());
    this.running.clear();
  }

  /** What a worker answers, unless the visitor stops. */
  async until<T>(answer: () => Promise<T>): Promise<T> {
    if (this.signal.aborted) {
      throw STOPPED;
    }
    return Promise.race([answer(), this.stopped]);
  }
}

/** An engine in its worker, as it is asked by whom measures. */
interface Side {
  name: SideName;
  engine: Engine;
}

/** What is done of all that is wished for, in cases. */
class Bar {
  private before = 0;

  constructor(
    private readonly total: number,
    private readonly tell: Listener['onProgress'],
  ) {}

  /** Tells what is done of the present part. */
  at(share: number, doing: string): void {
    this.tell((this.before + Math.min(share, 1)) / this.total, doing);
  }

  /** Goes on to the next part. */
  next(): void {
    this.before++;
  }
}

function casesOn(backend: BackendName, {cases, runs, examples}: Wish): [CaseName, number][] {
  const all: Partial<Record<CaseName, number>> = backend === 'cpu' ? TINY : EXAMPLES;
  return (runs.length === 0 ? [] : cases)
    .filter(name => all[name] !== undefined)
    .map(name => [name, Math.min(all[name] as number, examples ?? Infinity)]);
}

/** Nothing of the library's own runs on cpu instead of something else. */
function triesOn(backend: BackendName, {trials}: Wish): boolean {
  return trials && backend !== 'cpu';
}

/** Measures this device, and gives what there is when it is stopped. */
export async function measureDevice(wish: Wish, listener: Listener, signal: AbortSignal): Promise<Result> {
  const {backends, rounds} = wish;
  const result: Result = {
    ...{format: 1, library: version, date: new Date().toISOString(), device: await describeDevice(), rounds},
    ...{stopped: false, backends: []},
  };
  const parts = backends.map(name => casesOn(name, wish).length + (triesOn(name, wish) ? TRIALS_SHARE : 0));
  const bar = new Bar(
    parts.reduce((sum, count) => sum + count, 0),
    listener.onProgress,
  );
  const workers = new Workers(signal);
  for (const name of backends) {
    const measured: BackendResult = {name, cases: []};
    result.backends.push(measured);
    const show = () => listener.onResult(result);
    try {
      await measureBackend(measured, wish, workers, bar, show);
    } catch (error) {
      if (error === STOPPED) {
        result.stopped = true;
        show();
        break;
      }
      measured.error = firstLine(error);
    } finally {
      workers.end();
    }
    show();
  }
  return result;
}

async function measureBackend(
  measured: BackendResult,
  wish: Wish,
  workers: Workers,
  bar: Bar,
  show: () => void,
): Promise<void> {
  const {name: backend} = measured;
  bar.at(0, `${backend}: starting`);
  const sides: Side[] = [];
  for (const name of ['stock', 'library'] as const) {
    const engine = workers.start();
    measured.started = await workers.until(() => engine.start(backend, name));
    sides.push({name, engine});
  }
  for (const [name, examples] of casesOn(backend, wish)) {
    measured.cases.push(await measureCase(sides, {name, examples}, wish, workers, bar, backend));
    bar.next();
    show();
  }
  workers.end();
  if (triesOn(backend, wish)) {
    const engine = workers.start(({done, total, name}) => bar.at(done / total, `${backend}: trying ${name}`));
    measured.trials = await workers.until(() => engine.tryOut(backend, wish.wanted));
    bar.next();
  }
}

async function measureCase(
  sides: readonly Side[],
  task: Omit<Task, 'run'>,
  {runs: wished, rounds}: Wish,
  workers: Workers,
  bar: Bar,
  backend: BackendName,
): Promise<CaseResult> {
  const runs = sides.flatMap(({name: side, engine}) =>
    RUNS[side]
      .filter(run => wished.includes(run) && (backend !== 'cpu' || run !== 'full'))
      .map(run => ({name: side === 'stock' ? `stock ${run}` : run, engine, task: {...task, run}})),
  );
  const samples = runs.length * (WARM_UP + rounds + 1);
  let done = 0;
  const step = (name: string) => bar.at(done++ / samples, `${backend}, ${task.name}: ${RUN_TITLES[name] ?? name}`);
  const counts = new Map<string, Counts>();
  const faults = new Map<string, string>();
  // First, while nothing else is in memory.
  for (const {name, engine, task: counted} of runs) {
    step(name);
    try {
      counts.set(name, await workers.until(() => engine.count(counted)));
    } catch (error) {
      if (error === STOPPED) {
        throw error;
      }
      faults.set(name, firstLine(error));
    }
  }
  const contenders = runs
    .filter(({name}) => !faults.has(name))
    .map(({name, engine, task: raced}): Contender => ({
      name,
      sample: repeats => {
        step(name);
        return workers.until(() => engine.sample(raced, repeats));
      },
    }));
  const outcomes = await measure(contenders, {clock: 'wall', rounds, sampleMs: SAMPLE_MS});
  const title = await workers.until(() => sides[0]!.engine.titleOf({...task, run: ''}));
  for (const {engine} of sides) {
    await workers.until(() => engine.release());
  }
  return {
    name: task.name,
    title,
    runs: Object.keys(RUN_TITLES)
      .filter(run => runs.some(({name}) => name === run))
      .map(run => {
        const outcome = outcomes.find(({name}) => name === run);
        const error = faults.get(run) ?? (outcome && 'error' in outcome ? outcome.error : undefined);
        if (error !== undefined || outcome === undefined || 'error' in outcome) {
          return {run, error: error ?? 'not measured'};
        }
        const [ms, toPredict, toFull] = [
          timeOf(outcomes, run),
          ratioOf(outcomes, run, 'stock predict'),
          ratioOf(outcomes, run, 'full'),
        ];
        return {
          ...{run, samples: outcome.samples.map(sample => sample ?? null), ...counts.get(run)},
          ...(ms && {ms}),
          ...(toPredict && {toPredict}),
          ...(toFull && {toFull}),
        };
      }),
  };
}
