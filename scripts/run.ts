// Runs a program of this repository by its name, and hands on what follows it: `npm run example -- swap`,
// `npm run check -- backends webgl`.

import {spawnSync} from 'node:child_process';
import {argv} from 'node:process';
import {PROGRAMS} from './programs';

const [kind = '', ...args] = argv.slice(2);
const {main, commands} = PROGRAMS[kind]!;
const isHelp = args.includes('--help');
const isNamed = args.length > 0 && !args[0]!.startsWith('-');
const name = isNamed || main === undefined ? args.shift() : main;
const command = commands[name ?? ''];
const usage = `npm run ${kind} -- ${Object.keys(commands).join('|')}`;
if (isHelp) {
  console.log(`${usage}${main === undefined ? '' : `\nWithout a name: ${main}.`}`);
} else if (command === undefined) {
  console.error(`${usage}${name === undefined ? '' : `, not ${name}`}`);
  process.exitCode = 2;
} else {
  // In a shell, since a command may be several programs.
  const line = [command, ...args.map(argument => JSON.stringify(argument))].join(' ');
  process.exitCode = spawnSync(line, {shell: true, stdio: 'inherit'}).status ?? 1;
}
