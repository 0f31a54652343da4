// Measures what importing each entry point takes in Node beside tfjs: `npx tsx scripts/importCosts.ts [--rounds 9]
// [--dist folder …]`. Processor time of the process in milliseconds, which other programs disturb less than time by the
// clock, and memory in MB: medians of new processes, in turn. `--write` states the times of this build in
// importCosts.json and docs/bundlers.md. Several folders compare builds.

import {spawnSync} from 'node:child_process';
import {readFileSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {ENTRIES, importName, NODE_ENTRIES} from './entries';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, '..');
const TOGETHER = 'all entry points together';

const {values} = parseArgs({
  options: {
    rounds: {type: 'string', default: '9'},
    dist: {type: 'string', multiple: true, default: [join(ROOT, 'dist')]},
    write: {type: 'boolean', default: false},
  },
});

const entries = ['node', ...ENTRIES.filter(name => name !== 'node')];
const fileOf = (folder: string, entry: string) =>
  join(folder, NODE_ENTRIES.includes(entry) ? 'node' : '', `${entry}.js`);

interface Cost {
  milliseconds: number;
  megabytes: number;
}

function measure(files: readonly string[]): Cost | undefined {
  const program = `
    await import('@tensorflow/tfjs');
    gc();
    const [cpu, memory] = [process.cpuUsage(), process.memoryUsage()];
    for (const file of ${JSON.stringify(files)}) await import(file);
    const {user, system} = process.cpuUsage(cpu);
    gc();
    const after = process.memoryUsage();
    const bytes = after.heapUsed + after.external - memory.heapUsed - memory.external;
    console.log('COST' + JSON.stringify({milliseconds: (user + system) / 1000, megabytes: bytes / 1e6}));`;
  const args = ['--expose-gc', '--input-type=module', '--eval', program];
  const {stdout} = spawnSync(process.execPath, args, {cwd: ROOT, encoding: 'utf8'});
  const [, cost] = /^COST(.*)$/m.exec(stdout) ?? [];
  return cost === undefined ? undefined : (JSON.parse(cost) as Cost);
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

const groups = [...entries.map(entry => [entry]), entries];
const nameOf = ([entry = '', ...others]: readonly string[]) => (others.length === 0 ? importName(entry) : TOGETHER);
const costs = new Map<string, Cost[]>();
for (let round = 0; round < Number(values.rounds); round++) {
  for (const group of groups) {
    for (const folder of values.dist) {
      const cost = measure(group.map(entry => fileOf(folder, entry)));
      const key = `${nameOf(group)} of ${folder}`;
      costs.set(key, [...(costs.get(key) ?? []), ...(cost === undefined ? [] : [cost])]);
    }
  }
}

const stated: Record<string, number> = {};
for (const group of groups) {
  const columns = values.dist.map(folder => {
    const some = costs.get(`${nameOf(group)} of ${folder}`) ?? [];
    const time = median(some.map(({milliseconds}) => milliseconds));
    stated[nameOf(group)] ??= Number(time.toFixed(0));
    return `${time.toFixed(0)} ms, ${median(some.map(({megabytes}) => megabytes)).toFixed(1)} MB`;
  });
  console.log(`| ${[nameOf(group), ...columns].join(' | ')} |`);
}
if (values.write) {
  writeFileSync(join(HERE, 'importCosts.json'), `${JSON.stringify(stated, null, 2)}\n`);
  const {withCosts} = await import('./costTable');
  const page = join(ROOT, 'docs/bundlers.md');
  writeFileSync(page, withCosts(readFileSync(page, 'utf8')));
}
