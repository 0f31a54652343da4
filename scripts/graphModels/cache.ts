// Packages that are too large to be installed with the project live in a cache outside of the repository.

import {execFileSync} from 'node:child_process';
import {existsSync, mkdirSync, writeFileSync} from 'node:fs';
import {homedir} from 'node:os';
import {join} from 'node:path';

/** Where the cache is. */
export const CACHE = process.env.LORA_GRAPHS ?? join(homedir(), '.cache/tfjs-lora');

/** A path in a package of the cache. */
export function cached(path: string): string {
  return join(CACHE, 'node_modules', path);
}

/** Installs packages, `name@version`, by npm, where they are not there yet. */
export function install(packages: readonly string[]): void {
  const missing = packages.filter(name => !existsSync(cached(name.replace(/@[\d.]+$/, ''))));
  if (missing.length === 0) {
    return;
  }
  mkdirSync(CACHE, {recursive: true});
  if (!existsSync(join(CACHE, 'package.json'))) {
    writeFileSync(join(CACHE, 'package.json'), '{"private": true}\n');
  }
  console.log(`Fetching ${missing.join(' and ')} from npm, to ${CACHE}. This is done once.`);
  const options = ['--ignore-scripts', '--legacy-peer-deps', '--no-audit', '--no-fund', '--loglevel', 'error'];
  execFileSync('npm', ['install', ...options, ...missing], {cwd: CACHE, stdio: ['ignore', 'ignore', 'inherit']});
}
