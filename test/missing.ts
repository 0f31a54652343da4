import {spawnSync} from 'node:child_process';
import {join} from 'node:path';

/**
 * `describe`, where nothing is missing; else its tests are skipped, or with `CI=true` fail, and say what is missing.
 */
export function describeUnless(missing: string | undefined, name: string, tests: () => void): void {
  if (missing === undefined) {
    describe(name, tests);
  } else if (process.env.CI === 'true') {
    test(name, () => {
      throw new Error(missing);
    });
  } else {
    describe.skip(`${name} (skipped. ${missing})`, tests);
  }
}

/** The folder of a pretrained model, downloaded if it is missing; or, where that fails, what is missing. */
export function pretrained(name: 'minilm' | 'paraphrase'): {folder: string; missing?: string} {
  const {stdout, stderr} = spawnSync(
    process.execPath,
    ['--import', 'tsx', 'scripts/run.ts', 'setup', 'pretrained', name],
    {
      cwd: join(__dirname, '..'),
      encoding: 'utf8',
    },
  );
  const folder = stdout.split('\n').find(line => line.startsWith('/'));
  if (folder !== undefined) {
    return {folder};
  }
  const reason = /^\w*Error: .*/m.exec(stderr)?.[0] ?? stderr.trim();
  return {folder: '', missing: `\`npm run setup -- pretrained ${name}\` does not bring the model: ${reason}`};
}
