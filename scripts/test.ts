// What `npm test` runs: types, lint and format side by side, then the build, then the tests, which use it. What is
// behind `--` goes to jest.

import {spawn} from 'node:child_process';
import {argv, exit} from 'node:process';

/** Runs a command of `node_modules/.bin`. What runs beside another says what it has to say at its end. */
function run(command: string, isAlone: boolean): Promise<number> {
  return new Promise(resolve => {
    const child = spawn(command, {shell: true, stdio: isAlone ? 'inherit' : ['ignore', 'pipe', 'pipe']});
    const said: Buffer[] = [];
    child.stdout?.on('data', (text: Buffer) => said.push(text));
    child.stderr?.on('data', (text: Buffer) => said.push(text));
    child.on('close', code => {
      console.log(`${Buffer.concat(said).toString()}${command}: ${code === 0 ? 'passed' : 'failed'}`);
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

const checks = await Promise.all([
  inOrder(['eslint .'], false),
  inOrder(['tsc', 'prettier --check --log-level warn .'], false),
]);
const failure = checks.find(code => code !== 0);
const jest = ['jest', ...argv.slice(2).map(argument => JSON.stringify(argument))].join(' ');
exit(failure ?? (await inOrder(['npm run --silent build', jest], true)));
