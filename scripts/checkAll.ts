// Runs every check, one after the other, and prints a table of how they ended: `npm run check -- all`. The output of
// each goes to a file of its own. It takes hours; those of Python install some gigabytes.

import {spawnSync} from 'node:child_process';
import {closeSync, mkdtempSync, openSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import process from 'node:process';
import {PROGRAMS} from './programs';

const folder = mkdtempSync(join(tmpdir(), 'tfjs-lora-checks-'));
const names = Object.keys(PROGRAMS.check!.commands).filter(name => name !== 'all');
console.log(`The output of each check goes to ${folder}.`);
const rows = names.map(name => {
  const file = openSync(join(folder, `${name}.log`), 'w');
  const start = Date.now();
  const {status} = spawnSync('npm', ['run', '--silent', 'check', '--', name], {stdio: ['ignore', file, file]});
  closeSync(file);
  const row = {check: name, result: status === 0 ? 'passed' : 'failed', minutes: (Date.now() - start) / 60_000};
  console.log(`${name}: ${row.result}`);
  return row;
});
console.table(rows.map(row => ({...row, minutes: Number(row.minutes.toFixed(1))})));
process.exitCode = rows.every(({result}) => result === 'passed') ? 0 : 1;
