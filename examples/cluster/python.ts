import {execFileSync} from 'node:child_process';
import {existsSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';

// PyTorch, transformers, PEFT and accelerate, in the virtual environment that the benchmarks use too.

const HERE = fileURLToPath(new URL('.', import.meta.url));
const PEERS = join(HERE, '../../bench/peers');
const VENV = process.env.TFJS_LORA_PEERS ?? join(PEERS, '.venv');

/** Makes the environment where it is missing. @throws Error that says what to install, if there is no Python. */
export function installPEFT(): void {
  if (!existsSync(join(VENV, 'bin/accelerate'))) {
    console.log(`Installing PyTorch, PEFT and accelerate in ${VENV}, 6 GB …`);
    try {
      execFileSync(join(PEERS, 'setup'), {stdio: ['ignore', 'ignore', 'inherit']});
    } catch (error) {
      const wanted = 'Python 3.10 or newer with its module venv, and a way to PyPI';
      throw new Error(`The cluster of this example is PEFT, which needs ${wanted}.`, {cause: error});
    }
  }
}

/** Runs a program of the environment on a script of this example. */
export function run(program: string, ...args: string[]): void {
  execFileSync(join(VENV, 'bin', program), args, {
    cwd: HERE,
    stdio: 'inherit',
    env: {
      ...process.env,
      HF_HUB_OFFLINE: '1',
      PYTHONWARNINGS: 'ignore::FutureWarning',
      TOKENIZERS_PARALLELISM: 'false',
      TQDM_DISABLE: '1',
      TRANSFORMERS_VERBOSITY: 'error',
    },
  });
}
