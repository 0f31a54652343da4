import {spawnSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import type {KindReport} from './job';
import {KINDS} from './kinds';

const FILES = 40;

// The files are tried outside of jest, in processes that can be killed. All of that is over before the tests are named.
const folder = mkdtempSync(join(tmpdir(), 'attack-'));
const file = join(folder, 'report.json');
const options = ['--files', String(FILES), '--seed', '0', '--report', file];
const args = ['--import', 'tsx', join(__dirname, 'run.ts'), ...options];
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

function reportOf(name: string): KindReport {
  const report = reports.find(({kind}) => kind === name);
  if (report === undefined) {
    throw new Error(`The attack did not finish:\n${stderr.slice(-2000)}`);
  }
  expect(report.faults).toEqual([]);
  expect(report.loaded + report.refused).toBe(FILES);
  return report;
}

test('SECURITY.md says how many files are tried', () => {
  expect(readFileSync(join(__dirname, '../../SECURITY.md'), 'utf8')).toContain(`tests ${FILES} files of each kind`);
});

const namesOf = (isValid: boolean) => KINDS.filter(kind => Boolean(kind.isValid) === isValid).map(({name}) => name);

test.each(namesOf(false))('%s, damaged, is refused or loaded as it is, and leaves nothing', name => {
  const {loaded, refused} = reportOf(name);
  // Some are still whole, and the damage of most of them is seen.
  expect(Math.min(loaded, refused)).toBeGreaterThan(0);
});

test.each(namesOf(true))('%s is refused by name or computes what it should', name => {
  expect(reportOf(name).loaded).toBeGreaterThan(FILES / 2);
});
