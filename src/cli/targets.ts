import {extname} from 'node:path';
import {LoRAError} from '../errors';
import {type Adapter, exportPEFT, fileHandler, saveAdapter, type StoredType, writePEFTFolder} from '../node';
import {type Arguments, type Terminal, UsageError} from './command';
import type {Beside} from './sources';

/** The options of commands that write an adapter. */
export const ADAPTER_OPTIONS = {
  out: {value: '<path>', help: 'where to write: a .safetensors file, a .json file, or a folder for PEFT'},
  dtype: {value: '<type>', help: 'float32, float16 or bfloat16; .json holds float32 alone. Default: float32'},
  model: {value: '<path>', help: 'the base, which adapters of PEFT need'},
} as const;

const FORMATS = {'.safetensors': 'safetensors', '.json': 'tfjs', '': 'peft'} as const;

/**
 * What an adapter is written as, by the name of the place.
 *
 * @throws UsageError if the name says nothing.
 */
export function formatOf(out: string): (typeof FORMATS)[keyof typeof FORMATS] {
  const extension = extname(out);
  if (!Object.hasOwn(FORMATS, extension)) {
    throw new UsageError(`--out must end in .safetensors or .json, or be a folder for PEFT, got "${out}".`);
  }
  return FORMATS[extension as keyof typeof FORMATS];
}

/**
 * Writes an adapter.
 *
 * @throws LoRAError if it cannot be written so. Then earlier files are as they were.
 */
export async function writeAdapter(
  adapter: Adapter,
  out: string,
  {model, keyMap}: Beside,
  dtype: string | undefined,
  {err}: Terminal,
): Promise<void> {
  const type = {...(dtype !== undefined && {dtype: dtype as StoredType})};
  const format = formatOf(out);
  err(`Writing ${out}`);
  if (format !== 'peft') {
    await saveAdapter(adapter, fileHandler(out), {format, ...type});
    return;
  }
  if (model === undefined) {
    throw new LoRAError(
      `${out} would be a folder for PEFT, which names modules of PyTorch. Give the model that the adapter is for: ` +
        '--model <path>.',
    );
  }
  await writePEFTFolder(out, await exportPEFT(adapter, model, {...(keyMap !== undefined && {keyMap}), ...type}));
}

/** Paths that a command takes, of a number that it can use. */
export function pathsOf({paths}: Arguments, least: number, most: number, what: string): string[] {
  if (paths.length < least || paths.length > most) {
    throw new UsageError(`Give ${what}, got ${paths.length === 0 ? 'no path' : paths.join(' ')}.`);
  }
  return paths;
}
