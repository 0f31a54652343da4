import {execFileSync} from 'node:child_process';
import {mkdirSync, mkdtempSync, rmSync} from 'node:fs';
import {join} from 'node:path';

const ROOT = join(__dirname, '..');
const CACHE = join(ROOT, 'node_modules/.cache');

/**
 * Bundles a program for the processes that a test file starts, each of which would compile the sources again. Packages
 * stay outside; below `node_modules` the bundle finds them. Returns its path.
 */
export function bundled(source: string, format: 'esm' | 'cjs' = 'esm'): string {
  mkdirSync(CACHE, {recursive: true});
  const folder = mkdtempSync(join(CACHE, 'bundle-'));
  afterAll(() => {
    rmSync(folder, {recursive: true});
  });
  const file = join(folder, format === 'esm' ? 'bundle.mjs' : 'bundle.cjs');
  const options = ['--bundle', '--platform=node', '--packages=external', '--log-level=error', `--format=${format}`];
  execFileSync(join(ROOT, 'node_modules/.bin/esbuild'), [source, `--outfile=${file}`, ...options], {cwd: ROOT});
  return file;
}
