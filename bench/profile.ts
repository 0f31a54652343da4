import {performance} from 'node:perf_hooks';
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA} from 'tfjs-lora';
import {isBackend, useBackend} from './backend';
import type {BenchCase} from './cases/case';
import {CASE_NAMES, CASES, isCaseName} from './cases/index';
import {type Run, time} from './measure';
import {naiveLoRA} from './naive';
import {compile, forward, step} from './runs';
import {printTable} from './table';

const USAGE = `npx tsx bench/profile.ts --case ${CASE_NAMES.join('|')}
  [--of lora|full|naive|forward] [--backend wasm|cpu|tensorflow] [--top 20] [--steps 5] [--by shapes|kernel]

Prints where the time of a step goes, kernel by kernel, without what a kernel spends in other kernels.`;

/** What the calls of a kernel, with one set of shapes, took together. */
interface Entry {
  kernel: string;
  shapes: string;
  calls: number;
  ms: number;
}

const OF = ['lora', 'full', 'naive', 'forward'] as const;

async function makeRun(benchCase: BenchCase, of: (typeof OF)[number]): Promise<Run> {
  const base = await benchCase.build();
  const targets = benchCase.targets(base);
  // Whatever is measured, it runs on the library's kernels.
  const adapted = applyLoRA(base, targets);
  const batch = benchCase.batch();
  if (of === 'forward') {
    return forward(base, batch.xs);
  }
  const model = of === 'lora' ? adapted : of === 'full' ? base : await naiveLoRA(base, targets);
  compile(model, benchCase.loss);
  return step(model, batch);
}

/**
 * Clocks every kernel of the backend while `run` runs. The kernels in place have to be synchronous, as those of wasm and cpu are;
 * tf.profile counts a kernel that calls others twice.
 */
async function profileKernels(run: Run): Promise<Entry[]> {
  const entries = new Map<string, Entry>();
  /** For each kernel that is running: what the kernels inside of it took. */
  const inner: number[] = [];
  const kernels = tf.getKernelsForBackend(tf.getBackend()).map(config => ({config, original: config.kernelFunc}));
  for (const {config, original} of kernels) {
    config.kernelFunc = params => {
      const start = performance.now();
      inner.push(0);
      const outputs = original(params);
      const spent = performance.now() - start;
      const ms = spent - inner.pop()!;
      if (inner.length > 0) {
        inner[inner.length - 1]! += spent;
      }
      const shapes = `${shapesOf(Object.values(params.inputs))} → ${shapesOf([outputs].flat())}`;
      const key = `${config.kernelName} ${shapes}`;
      const entry = entries.get(key) ?? {kernel: config.kernelName, shapes, calls: 0, ms: 0};
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

/** The entries of each kernel added up. */
function byKernel(entries: readonly Entry[]): Entry[] {
  const sums = new Map<string, Entry>();
  for (const {kernel, calls, ms} of entries) {
    const sum = sums.get(kernel) ?? {kernel, shapes: '', calls: 0, ms: 0};
    sums.set(kernel, {...sum, calls: sum.calls + calls, ms: sum.ms + ms});
  }
  return [...sums.values()];
}

const {values} = parseArgs({
  options: {
    case: {type: 'string', default: ''},
    of: {type: 'string', default: 'lora'},
    backend: {type: 'string', default: 'wasm'},
    top: {type: 'string', default: '20'},
    steps: {type: 'string', default: '5'},
    by: {type: 'string', default: 'shapes'},
  },
});
const of = OF.find(name => name === values.of);
if (!isCaseName(values.case) || !isBackend(values.backend) || of === undefined) {
  console.error(USAGE);
  process.exit(1);
}
await useBackend(values.backend);
const benchCase: BenchCase = CASES[values.case];
const steps = Number(values.steps);
const run = await makeRun(benchCase, of);
await time(run, 2);
const total = await time(run, steps);
const all = await profileKernels(async () => {
  await time(run, steps);
});
// What the library's operations spend in themselves is no kernel's work.
const kernels = all.filter(({kernel}) => !kernel.startsWith('TfjsLoRA'));
const inKernels = kernels.reduce((sum, {ms}) => sum + ms, 0) / steps;
const launched = kernels.reduce((sum, {calls}) => sum + calls, 0) / steps;
const rows = (values.by === 'kernel' ? byKernel(kernels) : kernels)
  .sort((a, b) => b.ms - a.ms)
  .slice(0, Number(values.top));
console.log(
  `${benchCase.title}\n${of}: ${total.toFixed(1)} ms, of which ${inKernels.toFixed(1)} in ${launched} kernels (clocked in other runs, means of ${steps})\n`,
);
printTable(
  ['kernel', 'calls', 'ms', '%', 'shapes'],
  rows.map(({kernel, calls, ms, shapes}) => [
    kernel,
    String(calls / steps),
    (ms / steps).toFixed(2),
    ((100 * ms) / steps / inKernels).toFixed(1),
    shapes,
  ]),
);
