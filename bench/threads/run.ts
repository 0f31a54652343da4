// What threads gain on wasm in Node:
//
//     npm run bench -- threads [--threads 1,2] [--run "MLP, step;conv net, step"] [--rounds 30] [--busy 0]
//       [--split 4,8] [--clock wall|cpu]
//
// Processes with different numbers of threads take turns. `--busy` starts other processes that compute all the time.
// With `--split`, one thread also runs everything as it would be divided among so many, and clocks the parts: a
// forecast for machines with more cores, and what stays on one thread. `--clock cpu` clocks these parts by processor
// time, for machines that others use too.

import {fork, spawn} from 'node:child_process';
import {cpus} from 'node:os';
import {execPath} from 'node:process';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {processor} from '../machine';
import {type Contender, measure, ratioOf, timeOf} from '../measure';
import {spread} from '../reach';
import {answerOf} from '../stockClient';
import {printTable} from '../table';
import type {Split} from './parts';
import {type Answer, type Order, type RunName, RUNS} from './protocol';

const {values} = parseArgs({
  options: {
    threads: {type: 'string', default: '1,2'},
    run: {type: 'string', default: RUNS.join(';')},
    rounds: {type: 'string', default: '30'},
    busy: {type: 'string', default: '0'},
    split: {type: 'string', default: ''},
    clock: {type: 'string', default: 'wall'},
  },
});
const counts = values.threads.split(',').map(Number);
const splits = values.split === '' ? [] : values.split.split(',').map(Number);
const runs = values.run.split(';').map(name => RUNS.find(run => run === name));
if (runs.includes(undefined)) {
  throw new Error(`--run takes some of: ${RUNS.join('; ')}.`);
}
const names = runs as RunName[];

/** A process with a number of threads, which answers one order at a time. */
async function startWorker(threads: number) {
  const child = fork(fileURLToPath(new URL('worker.ts', import.meta.url)), [String(threads)]);
  await answerOf<Answer>(child);
  const ask = async (order: Order): Promise<Exclude<Answer, {error: string}>> => {
    child.send(order);
    const answer = await answerOf<Answer>(child);
    if ('error' in answer) {
      throw new Error(answer.error);
    }
    return answer;
  };
  const msOf = async (order: Order) => {
    const answer = await ask(order);
    return 'ms' in answer ? answer.ms : NaN;
  };
  return {threads, ask, msOf, close: () => child.disconnect()};
}
type Worker = Awaited<ReturnType<typeof startWorker>>;

const ofThreads = (count: number) => `${count} thread${count > 1 ? 's' : ''}`;
const nameOf = (run: RunName, threads: number) => `${run}, ${threads}`;

function contenders(workers: readonly Worker[]): Contender[] {
  return names.flatMap(run =>
    workers.map(({threads, msOf}) => ({
      name: nameOf(run, threads),
      sample: (repeats: number) => msOf({run, repeats}),
    })),
  );
}

/** Steps whose parts are clocked. The first, which compile and allocate, are not counted. */
const SPLIT_STEPS = 5;

/** The forecast for some numbers of threads. */
async function splitsOf({ask}: Worker, run: RunName): Promise<Split[]> {
  const found: Split[] = [];
  for (const split of splits) {
    for (const repeats of [2, SPLIT_STEPS]) {
      const answer = await ask({run, split, repeats, clock: values.clock === 'cpu' ? 'cpu' : 'wall'});
      if ('split' in answer && repeats === SPLIT_STEPS) {
        found.push(answer.split);
      }
    }
  }
  return found;
}

/** How many times as fast a run is if each round takes as long as its longest part. */
const gainOf = ({ms, divided, longest}: Split) => ms / (ms - divided + longest);

function printSplits(all: ReadonlyMap<RunName, readonly Split[]>): void {
  console.log('\nForecast from the times of parts, each alone on one thread:\n');
  printTable(
    ['', 'ms', 'in rounds', 'rounds', ...splits.map(count => `${count} threads ×`)],
    [...all].map(([run, found]) => {
      const {ms, divided, rounds} = found.at(-1)!;
      return [
        run,
        ms.toFixed(1),
        `${((100 * divided) / ms).toFixed(0)} %`,
        rounds.toFixed(0),
        ...found.map(split => gainOf(split).toFixed(2)),
      ];
    }),
  );
  console.log('\nWhat stays on one thread, in ms:\n');
  for (const [run, found] of all) {
    const {ms, divided, serial} = found.at(-1)!;
    const largest = serial
      .slice(0, 8)
      .map(([kernel, own]) => `${kernel === '' ? 'outside of kernels' : kernel} ${own.toFixed(2)}`);
    console.log(`${run}: ${(ms - divided).toFixed(1)}, of which ${largest.join(', ')}`);
  }
}

const IDLE_SECONDS = 10;

console.log(
  `Node ${process.version}, ${processor()}, ${cpus().length} cores, ${values.busy} other processes that compute`,
);
const workers: Worker[] = [];
for (const count of counts) {
  workers.push(await startWorker(count));
}
const busy = Array.from({length: Number(values.busy)}, () => spawn(execPath, ['-e', 'for (;;);']));
const outcomes = await measure(contenders(workers), {clock: 'wall', rounds: Number(values.rounds), sampleMs: 1});
busy.forEach(child => child.kill());
/** The fastest sample of a run: the one that other processes disturbed least. */
function fastest(run: RunName, threads: number): number {
  const outcome = outcomes.find(({name}) => name === nameOf(run, threads));
  const samples = outcome !== undefined && 'samples' in outcome ? outcome.samples : [];
  return Math.min(...samples.filter(ms => ms !== undefined));
}

const [first = 1, ...others] = counts;
printTable(
  [
    '',
    ...counts.flatMap(count => [`${ofThreads(count)}, fastest ms`, 'median ms']),
    ...others.flatMap(count => [`gain of ${count}, fastest`, 'median (quartiles)']),
  ],
  names.map(run => [
    run,
    ...counts.flatMap(count => [
      fastest(run, count).toFixed(1),
      timeOf(outcomes, nameOf(run, count))?.median.toFixed(1) ?? 'throws',
    ]),
    ...others.flatMap(count => [
      (fastest(run, first) / fastest(run, count)).toFixed(2),
      spread(ratioOf(outcomes, nameOf(run, first), nameOf(run, count))),
    ]),
  ]),
);
for (const {threads, msOf} of workers) {
  const ms = await msOf({idleSeconds: IDLE_SECONDS});
  console.log(`Processor time in ${IDLE_SECONDS} idle seconds with ${ofThreads(threads)}: ${ms.toFixed(0)} ms`);
}
if (splits.length > 0) {
  const all = new Map<RunName, Split[]>();
  for (const run of names) {
    all.set(run, await splitsOf(workers[0]!, run));
  }
  printSplits(all);
}
workers.forEach(({close}) => close());
