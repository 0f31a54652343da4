import {spawnSync} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

const PACKAGES = ['node-llama-cpp@3.22.1', '@node-llama-cpp/linux-x64@3.22.1'];

/** Runs a command, and gives what it prints. */
export function run(command: string, ...args: string[]): string {
  const {status, stdout} = spawnSync(command, args, {stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8'});
  if (status !== 0) {
    throw new Error(`${command} ${args.join(' ')} failed.`);
  }
  return stdout;
}

/** Runs `f` with a temporary folder that has node-llama-cpp, whose binaries npm brings. */
export async function withLlamaCpp<T>(f: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'llama-cpp-'));
  try {
    const options = ['--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund'];
    run('npm', 'install', '--prefix', folder, ...options, ...PACKAGES);
    return await f(folder);
  } finally {
    rmSync(folder, {recursive: true, force: true});
  }
}
