import {spawnSync} from 'node:child_process';
import {join} from 'node:path';

const ROOT = join(__dirname, '../..');

test('the built command runs, and writes nothing to stderr that was not asked for', () => {
  const {status, stdout, stderr} = spawnSync(
    process.execPath,
    [join(ROOT, 'dist/cli.js'), 'inspect', '--json', join(ROOT, 'test/fixtures/saved/adapter.safetensors')],
    {encoding: 'utf8'},
  );
  expect({status, stderr}).toEqual({status: 0, stderr: ''});
  expect(JSON.parse(stdout)).toMatchObject([{kind: 'adapter', numbers: 19}]);
}, 30_000);
