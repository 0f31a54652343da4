import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {cpus} from 'node:os';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {type Backend, BACKENDS, isBackend, useBackend} from './backend';
import {CASE_NAMES, type CaseName, CASES, isCaseName} from './cases/index';
import {type CaseResult, measureCase} from './library';
import {processor} from './machine';
import {CLOCKS, type Plan, ratioOf, type Summary, timeOf} from './measure';
import {hasPeft, THREADS} from './peers/peft';
import {useRelaxed} from './relaxed';
import {type Reach, reach, spread} from './reach';
import {printTable} from './table';
import {OF, printWhere} from './where';

const USAGE = `npm run bench -- [--backend ${BACKENDS.join('|')}] [--case ${CASE_NAMES.join(',')}] [--clock ${CLOCKS.join('|')}] [--quick] [--relaxed] [--threads 1]
  [--where [--of ${OF.join('|')}] [--by kernel|shapes] [--top 20] [--steps 5]]`;

const THOROUGH = {rounds: 21, sampleMs: 100};
/** Fewer and shorter samples: to see whether something is off, not to quote. */
const QUICK = {rounds: 5, sampleMs: 40};

/** What the names of the runs stand for. */
const LABELS: Record<string, string> = {
  lora: 'LoRA step, this library',
  full: 'full step, our kernels',
  naive: 'naive LoRA step, our kernels',
  'by hand': 'LoRA step by hand, our kernels',
  'stock full': 'full step, stock',
  'stock naive': 'naive LoRA step, stock',
  'stock forward': 'forward, stock',
  'stock floor': 'forward + input gradients, stock',
  floor: 'forward + input gradients, this process',
  products: 'seven frozen products, this process',
  optimizer: "the optimizer's update alone",
  'products + optimizer': 'seven frozen products + optimizer',
  ...Object.fromEntries(
    THREADS.flatMap(threads => [
      [`peft lora ${threads}`, `LoRA step, PyTorch + PEFT, ${ofThreads(threads)}`],
      [`peft full ${threads}`, `full step, PyTorch, ${ofThreads(threads)}`],
    ]),
  ),
  forward: 'forward, this process',
  'adapted forward': 'forward, adapted',
  'merged forward': 'forward, merged',
};

/** What everything is compared with. */
const COMPARED = {
  lora: '÷ LoRA step',
  'by hand': '÷ by hand',
  'stock forward': '÷ stock forward',
  forward: '÷ forward here',
};

/** Where and with what something was measured. */
interface Environment {
  date: string;
  backend: Backend;
  simd?: boolean;
  /** Whether training multiplies and adds in one instruction of relaxed SIMD. */
  relaxedSimd?: boolean;
  threads?: number;
  tfjs: string;
  library: string;
  node: string;
  cpu: string;
  cores: number;
  plan: Plan;
}

/** Loads a backend, which trains with relaxed SIMD if that is asked for. */
async function start(backend: Backend): Promise<void> {
  await useBackend(backend, Number(values.threads));
  if (values.relaxed) {
    useRelaxed();
  }
}

async function environmentOf(backend: Backend, plan: Plan): Promise<Environment> {
  const {version} = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {version: string};
  return {
    date: new Date().toISOString(),
    backend,
    ...(backend === 'wasm' && {
      simd: Boolean(await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT')),
      relaxedSimd: values.relaxed,
      threads: Number(values.threads),
    }),
    tfjs: tf.version.tfjs,
    library: version,
    node: process.version,
    cpu: processor(),
    cores: cpus().length,
    plan,
  };
}

function print(result: CaseResult): void {
  const {title, outcomes, footprints, applying, switching, files} = result;
  console.log(`\n## ${title}\n`);
  printTable(
    ['', 'ms', 'spread', ...Object.values(COMPARED).flatMap(title => [title, 'spread'])],
    outcomes.map(({name}) => {
      const ms = timeOf(outcomes, name);
      const ratios = Object.keys(COMPARED).map(to => ratioOf(outcomes, name, to));
      return [
        label(name),
        ...(ms === undefined ? ['throws', ''] : columns(ms, 1)),
        ...ratios.flatMap(ratio => (ratio === undefined ? ['–', ''] : columns(ratio, 2))),
      ];
    }),
  );
  for (const outcome of outcomes) {
    if ('error' in outcome) {
      console.log(`${label(outcome.name)} throws: ${outcome.error}`);
    }
  }
  console.log();
  printTable(
    ['one step', 'peak MB (tf.profile)', 'peak MB (distinct buffers)', 'kernels'],
    footprints.map(({name, result: measured}) => {
      return 'error' in measured
        ? [label(name), 'throws', 'throws', measured.error]
        : [label(name), megabytes(measured.profiledBytes), megabytes(measured.bufferBytes), String(measured.kernels)];
    }),
  );
  console.log(`
calibration, forward here / forward in the stock process: ${spread(ratioOf(outcomes, 'forward', 'stock forward'))}
${toPeers(result)}
inference: adapted / base ${spread(ratioOf(outcomes, 'adapted forward', 'forward'))}, merged / base ${spread(ratioOf(outcomes, 'merged forward', 'forward'))}
applyLoRA: ${spread(applying.ms)} ms, ${applying.newBuffers} new data buffers of ${megabytes(applying.newBytes)} MB (${applying.factors} factors of ${megabytes(applying.factorBytes)} MB)
switching the adapter by ${switching.how}: ${spread(switching.ms)} ms
files: adapter ${megabytes(files.adapter)} MB, model ${megabytes(files.model)} MB`);
}

/** A step of ours against PEFT's, and of tfjs's full training against PyTorch's. */
function toPeers({outcomes, peers}: CaseResult): string {
  if (peers === undefined) {
    return `peers: ${hasPeft() ? 'none for this case' : 'not there; bench/peers/setup installs them'}`;
  }
  const ratios = (above: string, below: 'lora' | 'full') =>
    THREADS.map(
      threads => `${spread(ratioOf(outcomes, above, `peft ${below} ${threads}`))} by its ${ofThreads(threads)}`,
    ).join(', ');
  const versions = Object.entries(peers).map(([name, version]) => `${name} ${version}`);
  return `peers: ${versions.join(', ')}, on ${processor()}
LoRA step / PEFT's: ${ratios('lora', 'lora')}
full step of stock tfjs / PyTorch's: ${ratios('stock full', 'full')}`;
}

function ofThreads(threads: number): string {
  return `${threads} thread${threads > 1 ? 's' : ''}`;
}

function label(name: string): string {
  return LABELS[name] ?? name;
}

function columns({median, low, high}: Summary, digits: number): [string, string] {
  return [median.toFixed(digits), `${low.toFixed(digits)}–${high.toFixed(digits)}`];
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(2);
}

function printReach(figures: readonly Reach[]): void {
  if (figures.length === 0) {
    return;
  }
  console.log('\n## Reach\n');
  printTable(
    ['figure', 'bar', 'measured', ''],
    figures.map(({figure, bar, measured, ok}) => [
      figure,
      bar,
      measured,
      ok === null ? 'not measured' : ok ? 'ok' : 'not reached',
    ]),
  );
}

/** What is measured as JSON: every sample, and the medians and ratios that are printed. */
function asJSON(environment: Environment, results: readonly CaseResult[]): string {
  const cases = results.map(({outcomes, ...rest}) => ({
    ...rest,
    runs: outcomes.map(outcome => ({
      ...outcome,
      ms: timeOf(outcomes, outcome.name),
      toLoRA: ratioOf(outcomes, outcome.name, 'lora'),
      toStockForward: ratioOf(outcomes, outcome.name, 'stock forward'),
      toForward: ratioOf(outcomes, outcome.name, 'forward'),
    })),
  }));
  return JSON.stringify({environment, cases, reach: reach(results, environment.backend)}, null, 1);
}

async function main(backend: Backend, names: readonly CaseName[], plan: Plan): Promise<void> {
  await start(backend);
  const environment = await environmentOf(backend, plan);
  const {tfjs, library, node, cpu, cores, date} = environment;
  console.log(
    `${backend}, tfjs ${tfjs}, tfjs-lora ${library}, Node ${node}, ${cpu}, ${cores} ` +
      `cores${values.relaxed ? ', relaxed SIMD' : ''}, ${date}`,
  );
  console.log(
    `Medians of up to ${plan.rounds} interleaved rounds by the ${plan.clock} clock; the spread is the middle half. ` +
      "Ratios are medians of the rounds' own ratios.",
  );
  const results: CaseResult[] = [];
  for (const name of names) {
    const result = await measureCase(name, backend, plan);
    print(result);
    results.push(result);
  }
  printReach(reach(results, backend));
  const folder = new URL('results/', import.meta.url);
  mkdirSync(folder, {recursive: true});
  const file = new URL(`${backend}.json`, folder);
  writeFileSync(file, asJSON(environment, results));
  console.log(`\nSaved as ${fileURLToPath(file)}`);
}

const {values} = parseArgs({
  options: {
    backend: {type: 'string', default: 'wasm'},
    case: {type: 'string', default: CASE_NAMES.join(',')},
    clock: {type: 'string', default: 'wall'},
    quick: {type: 'boolean', default: false},
    relaxed: {type: 'boolean', default: false},
    threads: {type: 'string', default: '1'},
    where: {type: 'boolean', default: false},
    of: {type: 'string', default: 'lora'},
    by: {type: 'string', default: 'kernel'},
    top: {type: 'string', default: '20'},
    steps: {type: 'string', default: '5'},
  },
});
const {backend} = values;
const clock = CLOCKS.find(known => known === values.clock);
const of = OF.find(name => name === values.of);
const by = (['kernel', 'shapes'] as const).find(name => name === values.by);
const names = values.case.split(',').filter((name): name is CaseName => isCaseName(name));
if (
  !isBackend(backend) ||
  clock === undefined ||
  of === undefined ||
  by === undefined ||
  names.length !== values.case.split(',').length
) {
  console.error(USAGE);
  process.exit(1);
}
const work = values.where ? lookInto(names) : main(backend, names, {clock, ...(values.quick ? QUICK : THOROUGH)});
await work.catch((error: unknown) => {
  // Not thrown: the wasm backend's own handler would print its whole source in front.
  console.error(error);
  process.exitCode = 1;
});

/** Prints where a step of each case goes. */
async function lookInto(cases: readonly CaseName[]): Promise<void> {
  await start(backend as Backend);
  for (const name of cases) {
    const look = {of: of ?? 'lora', by: by ?? 'kernel', clock: clock ?? 'wall'} as const;
    await printWhere(CASES[name], {...look, top: Number(values.top), steps: Number(values.steps)});
  }
}
