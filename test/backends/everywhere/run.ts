// Runs the suite on the backends that this machine has, or on those that are named, and leaves the reports beside it as
// JSON: `run.ts [backend …]`, for instance `run.ts webgl webgpu`.

import {spawn} from 'node:child_process';
import {existsSync, mkdirSync, writeFileSync} from 'node:fs';
import {availableParallelism} from 'node:os';
import {dirname, join} from 'node:path';
import process, {argv, execPath, stderr} from 'node:process';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import {findChromium, ServedSuite} from './browser';
import type {Outcome} from './case';
import {holds, nameOf, type Report, RESULTS, summary, table} from './report';
import {HALF_WEBGL, type Order} from './start';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, '../../..');
const ORDERS: readonly Order[] = ['libraryFirst', 'backendFirst'];
/** Long for a suite of some minutes, on a machine that has other things to do. */
const PATIENCE = 20 * 60_000;

/** Runs the suite in each order. */
type Run = (report: (outcome: Outcome) => void) => Promise<void>;

/** A backend, and how the suite runs on it or how to install it. */
interface Job {
  report: Report;
  run: Run;
}

/** Runs the suite in a process of its own for each order. */
function inNode(backend: string): Run {
  return async report => {
    for (const order of ORDERS) {
      await inProcess(backend, order, report);
    }
  };
}

function inProcess(backend: string, order: Order, report: (outcome: Outcome) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(execPath, ['--import', 'tsx', join(HERE, 'inNode.ts'), backend, order], {
      cwd: ROOT,
      env: {...process.env, TF_CPP_MIN_LOG_LEVEL: '2'},
      timeout: PATIENCE,
    });
    let errors = '';
    child.stderr.on('data', data => (errors = `${errors}${String(data)}`.slice(-2000)));
    createInterface({input: child.stdout}).on('line', line => {
      if (line.startsWith('OUTCOME ')) {
        report(JSON.parse(line.slice('OUTCOME '.length)) as Outcome);
      }
    });
    child.on('error', reject);
    child.on('close', (code, signal) =>
      code === 0 ? resolve() : reject(new Error(`It ended with ${code ?? signal}: ${errors}`)),
    );
  });
}

/** All backends there are to run on, those that take longest first. */
async function findJobs(names: readonly string[]): Promise<{jobs: Job[]; close: () => void}> {
  const wanted = (backend: string) => names.length === 0 || names.includes(backend);
  const browserBackends = ['webgpu', 'webgl', HALF_WEBGL, 'wasm', 'cpu'].filter(wanted);
  const chromium = findChromium();
  const served = chromium === undefined || browserBackends.length === 0 ? null : await ServedSuite.start(chromium);
  const noChromium = 'Install Chromium (Debian: apt-get install chromium), or set CHROMIUM to its path.';
  const inChromium = browserBackends.map((backend): Job => ({
    report: {place: 'Chromium', backend, outcomes: [], ...(served === null && {missing: noChromium})},
    // The order asks nothing of the size of a float.
    run: async report => served?.run(backend, backend === HALF_WEBGL ? ORDERS.slice(0, 1) : ORDERS, report, PATIENCE),
  }));
  const hasTfjsNode = existsSync(join(ROOT, 'node_modules/@tensorflow/tfjs-node'));
  const onNode = ['tensorflow', 'wasm', 'cpu'].filter(wanted).map((backend): Job => {
    const missing =
      backend === 'tensorflow' && !hasTfjsNode ? {missing: '`npm run setup -- tfjs-node` brings it.'} : {};
    return {report: {place: 'Node', backend, outcomes: [], ...missing}, run: inNode(backend)};
  });
  return {jobs: [...inChromium, ...onNode], close: () => served?.close()};
}

async function carryOut({report, run}: Job): Promise<void> {
  if (report.missing !== undefined) {
    return;
  }
  const start = Date.now();
  try {
    await run(outcome => report.outcomes.push(outcome));
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    if (text.includes(`There is no backend ${report.backend}.`)) {
      report.missing = `This ${report.place} has no ${report.backend}.`;
      return;
    }
    report.failure = text;
  }
  const failed = report.outcomes.filter(outcome => !holds(outcome)).length + (report.failure === undefined ? 0 : 1);
  const seconds = Math.round((Date.now() - start) / 1000);
  stderr.write(`${nameOf(report)}: ${report.outcomes.length} cases, ${failed} failed, ${seconds} s\n`);
}

const {jobs, close} = await findJobs(argv.slice(2));
const waiting = [...jobs];
const work = async () => {
  for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
    await carryOut(job);
  }
};
// Two at a time: wasm in Node and the pages use one core each, more or less.
await Promise.all(Array.from({length: Math.min(2, availableParallelism())}, work));
close();

const reports = jobs.map(({report}) => report).reverse();
const file = join(ROOT, RESULTS);
mkdirSync(dirname(file), {recursive: true});
writeFileSync(file, JSON.stringify(reports, null, 2));
for (const report of reports) {
  const faults = [report.failure, ...report.outcomes.filter(outcome => !holds(outcome)).map(show)];
  faults.filter(fault => fault !== undefined).forEach(fault => stderr.write(`${nameOf(report)}: ${fault}\n`));
}
console.log(`${table(reports)}\n\n${summary(reports)}`);
if (!reports.every(({failure, outcomes}) => failure === undefined && outcomes.every(holds))) {
  process.exitCode = 1;
}

function show({behaviour, kind, deviation, tolerance, error}: Outcome): string {
  const what = kind === undefined ? behaviour : `${kind}: ${behaviour}`;
  return error === undefined ? `${what}: off by ${deviation}, at most ${tolerance}` : `${what}: ${error}`;
}
