// Takes every graph of some npm packages through import, training, merge and back: `npm run check -- graphs`, or with
// names for some of them.

import {spawnSync} from 'node:child_process';
import {dirname, join} from 'node:path';
import {argv, execPath} from 'node:process';
import {fileURLToPath} from 'node:url';
import {install} from './cache';
import {convertedNames, graphNames, PACKAGES} from './files';
import {HEAD, type Outcome, row, summary} from './table';

install(PACKAGES);
const names = argv.length > 2 ? argv.slice(2) : [...graphNames(), ...convertedNames()];
const script = join(dirname(fileURLToPath(import.meta.url)), 'check.ts');
// Each row as it comes: all of them take most of an hour.
console.log(HEAD);
const outcomes = names.map((name): Outcome => {
  // A process each: what one leaves behind is not the next one's.
  const {stdout, stderr} = spawnSync(execPath, ['--import', 'tsx', script, name], {encoding: 'utf8'});
  const line = stdout.split('\n').find(each => each.startsWith('{'));
  const outcome = line === undefined ? {name, cut: false, error: stderr.slice(-300)} : (JSON.parse(line) as Outcome);
  console.log(row(outcome));
  return outcome;
});
console.log(`\n${summary(outcomes)}`);
