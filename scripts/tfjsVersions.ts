// Runs the suite with other versions of tfjs, each in a copy of the last commit in a folder for temporary files, which
// is kept for the next time: `npm run check -- tfjs`, or `npm run check -- tfjs 4.20.0 -- test/core/layers` for one
// version and some of the tests.
//
// It runs the tests of the kinds `unit` and `process`, save those of this repository's tools.

import {spawnSync} from 'node:child_process';
import {existsSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {argv} from 'node:process';
import {fileURLToPath} from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const CACHE = join(tmpdir(), 'tfjs-lora-tfjs');
const VERSIONS = ['4.10.0', '4.20.0', '4.22.0'];
const LEFT_OUT = ['architecture.test'];

interface Manifest {
  devDependencies: Record<string, string>;
  overrides?: unknown;
}

function run(command: string, args: string[], cwd: string): boolean {
  return spawnSync(command, args, {cwd, stdio: 'inherit'}).status === 0;
}

/** A copy of the last commit, with `version` of tfjs installed. */
function prepare(version: string): string {
  const folder = join(CACHE, version);
  mkdirSync(folder, {recursive: true});
  const archive = join(folder, 'commit.tar');
  if (
    !run('git', ['archive', '-o', archive, 'HEAD'], ROOT) ||
    !run('tar', ['-xf', archive, '--exclude', 'package-lock.json'], folder)
  ) {
    throw new Error('The last commit could not be copied.');
  }
  const file = join(folder, 'package.json');
  const manifest = JSON.parse(readFileSync(file, 'utf8')) as Manifest;
  delete manifest.overrides;
  for (const name of Object.keys(manifest.devDependencies)) {
    if (/^@tensorflow\/tfjs(-backend-\w+)?$/.test(name)) {
      manifest.devDependencies[name] = version;
    }
  }
  // They ask for a tfjs of their own, and only the examples and a page of the docs use them.
  for (const name of ['@tensorflow/tfjs-vis', '@upscalerjs/default-model', 'nsfwjs']) {
    Reflect.deleteProperty(manifest.devDependencies, name);
  }
  writeFileSync(file, JSON.stringify(manifest));
  const isThere = existsSync(join(folder, 'node_modules/jest'));
  if (!isThere && !run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund'], folder)) {
    throw new Error(`tfjs ${version} could not be installed.`);
  }
  return folder;
}

const args = argv.slice(2);
const split = args.includes('--') ? args.indexOf('--') : args.length;
const versions = split === 0 ? VERSIONS : args.slice(0, split);
const failed = versions.filter(version => {
  console.log(`tfjs ${version}`);
  const folder = prepare(version);
  const options = ['--selectProjects', 'unit', 'process', '--testPathIgnorePatterns', ...LEFT_OUT];
  return !run('npx', ['jest', ...options, '--', ...args.slice(split + 1)], folder);
});
console.log(
  failed.length === 0 ? `The suite passes with ${versions.join(', ')}.` : `It fails with ${failed.join(', ')}.`,
);
if (failed.length > 0) {
  process.exitCode = 1;
}
