import {spawnSync} from 'node:child_process';
import {closeSync, openSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {bundled} from '../bundled';
import {temporaryFolder} from '../temporaryFolder';

const PROGRAM = bundled('src/cli.ts');
const FIXTURES = join(__dirname, '../fixtures');
const folder = temporaryFolder();

const at = (name: string) => join(folder, name);

describe('the exit code of the process reports', () => {
  const start = (args: string[], out: number | 'pipe' = 'pipe', err: number | 'pipe' = 'pipe') => {
    const {status, stderr} = spawnSync(process.execPath, [PROGRAM, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', out, err],
    });
    return {status, stderr};
  };

  test.each([
    ['never settles', 'await new Promise(() => undefined);'],
    ['ends the process', 'process.exit(0);'],
  ])('a module of --register that %s', (_, code) => {
    writeFileSync(at('layers.mjs'), code);
    const {status, stderr} = start(['inspect', FIXTURES, '--register', at('layers.mjs')]);
    expect({status, stderr}).toEqual({
      status: 1,
      stderr: expect.stringMatching(/^The command did not finish: .*\n$/),
    });
  });

  test('a full disk under what is printed', () => {
    const full = openSync('/dev/full', 'w');
    expect(start(['--version'], full)).toEqual({
      status: 1,
      stderr: 'The results cannot be written: ENOSPC: no space left on device, write\n',
    });
    expect(start(['inspect', 'nothing'], 'pipe', full).status).toBe(1);
    closeSync(full);
  });
});
