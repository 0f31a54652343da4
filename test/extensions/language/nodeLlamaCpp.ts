import {spawnSync} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';

const PACKAGES = ['node-llama-cpp@3.22.1', '@node-llama-cpp/linux-x64@3.22.1'];

/** Runs a command that may fail, or be ended. */
export function tryRun(command: string, ...args: string[]): boolean {
  return spawnSync(command, args, {stdio: 'ignore'}).status === 0;
}

/** Runs a command, and gives what it prints. */
export function run(command: string, ...args: string[]): string {
  const {status, stdout} = spawnSync(command, args, {stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8'});
  if (status !== 0) {
    throw new Error(`${command} ${args.join(' ')} failed.`);
  }
  return stdout;
}

/** Runs `f` with a temporary folder that has node-llama-cpp, whose binaries npm brings. */
export async function withLlamaCpp<T>(f: (folder: string) => T | Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'llama-cpp-'));
  try {
    const options = ['--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund'];
    run('npm', 'install', '--prefix', folder, ...options, ...PACKAGES);
    return await f(folder);
  } finally {
    rmSync(folder, {recursive: true, force: true});
  }
}

/** What is used of node-llama-cpp. */
interface Llama {
  loadModel(options: {modelPath: string; vocabOnly?: boolean}): Promise<{
    tokenize(text: string, specialTokens: boolean): readonly number[];
    isEogToken(id: number): boolean;
    createContext(options: object): Promise<{
      getSequence(): {
        controlledEvaluate(input: [id: number, options: object][]): Promise<{next: {logits: Map<number, number>}}[]>;
        evaluate(ids: readonly number[], options: object): AsyncGenerator<number>;
        clearHistory(): Promise<void>;
      };
      dispose(): Promise<void>;
    }>;
    dispose(): Promise<void>;
  }>;
  dispose(): Promise<void>;
}

/** Starts llama.cpp from such a folder. It may end the process, which therefore should be one of its own. */
export async function startLlama(folder: string): Promise<Llama> {
  const module = pathToFileURL(join(folder, 'node_modules/node-llama-cpp/dist/index.js')).href;
  const nodeLlamaCpp = (await import(module)) as {getLlama: (options: object) => Promise<Llama>};
  const quiet = {progressLogs: false, logLevel: 'warn'};
  return nodeLlamaCpp.getLlama({gpu: false, build: 'never', skipDownload: true, ...quiet});
}
