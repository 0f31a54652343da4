import {spawnSync} from 'node:child_process';
import {join} from 'node:path';

const ROOT = join(__dirname, '../..');

test('what a page loads is within the limits of scripts/sizes.json', () => {
  const {status, stderr} = spawnSync(process.execPath, ['--import', 'tsx', join(ROOT, 'scripts/sizes.ts')], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  expect(status).toBe(0);
}, 60_000);
