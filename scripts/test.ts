// Runs tests of some kinds, and first what they need: `npm test` runs those of `unit`, `npm run test:all` all of them,
// `tsx scripts/test.ts backends` the suite on all backends, and `tsx scripts/test.ts rest` all but those.
//
// Beside `unit` run types, lint and format; before the others the build. What follows the group goes to Jest: options, such
// as `--shard=1/4`, and paths.

import {spawn} from 'node:child_process';
import {argv, exit} from 'node:process';
import {readReports, summary} from '../test/backends/everywhere/report';

const REST = ['slow', 'process', 'built', 'browser', 'attack'];
const GROUPS: Readonly<Record<string, readonly string[]>> = {
  unit: ['unit'],
  backends: ['backends'],
  rest: REST,
  all: ['unit', 'backends', ...REST],
};

/** What the commands printed that failed beside another, to be read at the end too. */
const failed: string[] = [];

/** Runs a command of `node_modules/.bin`. One that runs beside another prints its output when it ends. */
function run(command: string, isAlone: boolean): Promise<number> {
  return new Promise(resolve => {
    const child = spawn(command, {shell: true, stdio: isAlone ? 'inherit' : ['ignore', 'pipe', 'pipe']});
    const said: Buffer[] = [];
    child.stdout?.on('data', (text: Buffer) => said.push(text));
    child.stderr?.on('data', (text: Buffer) => said.push(text));
    child.on('close', code => {
      const output = `${Buffer.concat(said).toString()}${command}: ${code === 0 ? 'passed' : 'failed'}`;
      console.log(output);
      if (code !== 0 && !isAlone) {
        failed.push(output);
      }
      resolve(code ?? 1);
    });
  });
}

async function inOrder(commands: readonly string[], isAlone: boolean): Promise<number> {
  for (const command of commands) {
    const code = await run(command, isAlone);
    if (code !== 0) {
      return code;
    }
  }
  return 0;
}

/** Types and lint, and format. */
async function checks(): Promise<number> {
  const cache = 'node_modules/.cache/prettier.json';
  const format = `prettier --check --log-level warn --cache --cache-strategy content --cache-location ${cache} .`;
  const codes = [await run('oxlint', false), await run(format, false)];
  return codes.find(code => code !== 0) ?? 0;
}

const [group = '', ...args] = argv.slice(2);
const kinds = GROUPS[group]!;
const isOption = (argument: string) => argument.startsWith('--');
const paths = args.filter(argument => !isOption(argument)).map(path => JSON.stringify(path));
const jest = ['jest', ...args.filter(isOption), '--selectProjects', ...kinds, '--', ...paths].join(' ');
const commands = [...(kinds.includes('built') ? ['npm run --silent build'] : []), jest];
const [failure, code] = await Promise.all([kinds.includes('unit') ? checks() : 0, inOrder(commands, true)]);
if (kinds.includes('backends')) {
  console.log(summary(readReports('.') ?? []));
}
failed.forEach(output => {
  console.log(output);
});
exit(failure === 0 ? code : failure);
