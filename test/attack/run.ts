// Attacks the library with damaged files of every kind, and with valid graphs:
// `run.ts [--files N] [--kind NAME] [--seed N] [--report FILE]`. A file that shows a fault is told by its kind and its
// seed; with these and `--files 1` it is tried again. Without a seed, each run draws and prints another one. With
// `--backend webgl` or `--backend webgpu`, kernels alone are attacked, in Chromium.

import {mkdirSync, writeFileSync} from 'node:fs';
import {availableParallelism} from 'node:os';
import {dirname, join} from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import type {Job, KindReport} from './job';
import {KernelPages} from './kernels/pages';
import {KINDS} from './kinds';
import {kernels} from './kinds/kernels';
import {type Attacker, Worker} from './pool';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
/** Enough to see what is wrong. */
const MAX_FAULTS = 20;

const {values} = parseArgs({
  options: {
    files: {type: 'string', default: '20000'},
    kind: {type: 'string', default: ''},
    seed: {type: 'string', default: String(Date.now() % 2 ** 31)},
    report: {type: 'string'},
    backend: {type: 'string'},
  },
});

async function attack(
  kind: string,
  count: number,
  firstSeed: number,
  workers: readonly Attacker[],
): Promise<KindReport> {
  const report: KindReport = {kind, loaded: 0, refused: 0, faults: []};
  let next = 0;
  const work = async (worker: Attacker) => {
    while (next < count && report.faults.length < MAX_FAULTS) {
      const job: Job = {kind, seed: firstSeed + next++};
      const {result, what = ''} = await worker.carryOut(job);
      if (result === 'fault') {
        report.faults.push({...job, what});
        process.stderr.write(`${kind}, seed ${job.seed}: ${what}\n`);
      } else {
        report[result]++;
      }
    }
  };
  await Promise.all(workers.map(work));
  return report;
}

console.log(`--seed ${values.seed}`);
const {backend} = values;
const pages = backend === undefined ? undefined : await KernelPages.start(backend);
const workers = pages ? [pages] : Array.from({length: Math.min(2, availableParallelism())}, () => new Worker(ROOT));
const kinds = pages ? [kernels] : KINDS.filter(kind => kind.name.includes(values.kind));
const reports: KindReport[] = [];
for (const {name} of kinds) {
  const start = Date.now();
  const report = await attack(name, Number(values.files), Number(values.seed), workers);
  reports.push(report);
  const seconds = Math.round((Date.now() - start) / 1000);
  const {loaded, refused, faults} = report;
  console.log(`${name}: ${loaded} loaded, ${refused} refused, ${faults.length} faults, ${seconds} s`);
}
if (pages) {
  console.log(await pages.summary());
}
for (const worker of workers) {
  await worker.stop();
}
if (values.report !== undefined) {
  mkdirSync(dirname(values.report), {recursive: true});
  writeFileSync(values.report, JSON.stringify(reports));
}
process.exitCode = reports.some(({faults}) => faults.length > 0) ? 1 : 0;
