import {existsSync, mkdirSync} from 'node:fs';
import {homedir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';

/** The virtual environment that `bench/peers/setup` makes. */
const FOLDER = process.env.TFJS_LORA_PEERS ?? fileURLToPath(new URL('.venv', import.meta.url));

export const PYTHON = `${FOLDER}/bin/python`;

/** The Python of the peers. Ends the program with a message if they are not installed. */
export function requirePeers(): string {
  if (!existsSync(PYTHON)) {
    console.error(
      'This benchmark needs PyTorch and PEFT. Install them with `bench/peers/setup`, or set TFJS_LORA_PEERS ' +
        'to the folder of a virtual environment that has them.',
    );
    process.exit(1);
  }
  return PYTHON;
}

/** The script that writes models of random numbers and trains them. */
export const MODELS = fileURLToPath(new URL('models.py', import.meta.url));

/** A folder for a model of random numbers. */
export function shapeFolder(name: string): string {
  const folder = join(homedir(), '.cache/tfjs-lora/shapes', name);
  mkdirSync(folder, {recursive: true});
  return folder;
}
