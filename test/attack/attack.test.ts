import {spawnSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import type {KindReport} from './job';
import {KINDS} from './kinds';

const FILES = 500;

// The files are tried outside of jest, in processes that can be killed. All of that is over before the tests are named.
const folder = mkdtempSync(join(tmpdir(), 'attack-'));
const file = join(folder, 'report.json');
const args = ['--import', 'tsx', join(__dirname, 'run.ts'), '--files', String(FILES), '--report', file];
const {stderr} = spawnSync(process.execPath, args, {cwd: join(__dirname, '../..'), encoding: 'utf8'});
const reports = readReports();
rmSync(folder, {recursive: true});

function readReports(): KindReport[] {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as KindReport[];
  } catch {
    return [];
  }
}

test.each(KINDS.map(({name}) => name))('%s, damaged, is refused or loaded as it is, and leaves nothing', name => {
  const report = reports.find(({kind}) => kind === name);
  if (report === undefined) {
    throw new Error(`The attack did not come to its end:\n${stderr.slice(-2000)}`);
  }
  const {loaded, refused, faults} = report;
  expect(faults).toEqual([]);
  expect(loaded + refused).toBe(FILES);
  // Some are still whole, and the damage of most of them is seen.
  expect(Math.min(loaded, refused)).toBeGreaterThan(0);
});
