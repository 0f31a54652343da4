import {mkdir, readdir, realpath, rmdir, stat} from 'node:fs/promises';
import {basename, dirname, extname, join} from 'node:path';
import {asLoRAError, LoRAError} from '../platform/errors';
import {type Adapter, fileHandler, type SafetensorsOptions, saveAdapter, type StoredType} from '../node';
import {isHub} from '../core/storage/hubName';
import {replaceFile} from '../node/files';
import {locked} from '../node/lock';
import {type Arguments, nameOf, type Terminal, UsageError} from './command';
import {type Beside, type Source, sourceAt} from './sources';

export const FORCE_OPTION = {force: {help: 'replaces --out if it exists'}} as const;

export const ADAPTER_OPTIONS = {
  out: {value: '<path>', help: 'where to write: a .safetensors file, a .json file, or a folder for PEFT'},
  dtype: {value: '<type>', help: 'float32, float16 or bfloat16; .json stores only float32. Default: float32'},
  model: {value: '<path>', help: 'the base model, which PEFT adapters need'},
  'allow-non-finite': {help: 'writes NaN and infinities as they are'},
  ...FORCE_OPTION,
} as const;

const FORMATS = {'.safetensors': 'safetensors', '.json': 'tfjs', '': 'peft'} as const;

/** Where an adapter is written, and in which format. */
interface AdapterTarget {
  out: string;
  format: (typeof FORMATS)[keyof typeof FORMATS];
  options: SafetensorsOptions;
}

/**
 * Where an adapter is to be written, before anything is read.
 *
 * @throws UsageError if the name of the place does not say in which format, or that has no such `--dtype`; LoRAError if
 *     something is there that stays.
 */
export async function adapterTarget(args: Arguments, out: string): Promise<AdapterTarget> {
  const extension = extname(basename(out));
  if (!Object.hasOwn(FORMATS, extension)) {
    throw new UsageError(`--out must end in .safetensors or .json, or be a folder for PEFT, got "${out}".`);
  }
  const format = FORMATS[extension as keyof typeof FORMATS];
  const dtype = nameOf<StoredType>(args, 'dtype', ['float32', 'float16', 'bfloat16']);
  if (format === 'tfjs' && dtype !== undefined && dtype !== 'float32') {
    throw new UsageError(`A .json file holds float32. For --dtype ${dtype} let --out end in .safetensors.`);
  }
  if (format === 'peft' && args.values.model === undefined) {
    throw new UsageError(
      `${out} would be a folder for PEFT, which names PyTorch modules. Pass the model that the adapter belongs ` +
        'to: --model <path>.',
    );
  }
  await checkOut(args, out, kindOf(format));
  const allowNonFinite = args.switches.has('allow-non-finite');
  return {out, format, options: {...(dtype !== undefined && {dtype}), allowNonFinite}};
}

function kindOf(format: AdapterTarget['format']): Written {
  return format === 'peft' ? 'an adapter of PEFT' : 'an adapter';
}

/** The kinds of output. Whether a model consists of layers or is a graph is known only after reading it. */
type Written = 'an adapter' | 'an adapter of PEFT' | 'a model' | 'a published model';

const KINDS: Readonly<Record<Source['kind'], Written>> = {
  adapter: 'an adapter',
  'PEFT adapter': 'an adapter of PEFT',
  'layers model': 'a model',
  'graph model': 'a model',
  'ONNX model': 'a model',
  'hub model': 'a published model',
  'GGUF model': 'a published model',
};

/**
 * Checks that a place is free, or may be replaced. An empty folder is free.
 *
 * With `--force` an adapter takes the place of an adapter, and a model that of a model. Something else is never
 * replaced: a model's folder that gets the files of an adapter too could not be read as a model any more.
 *
 * @throws LoRAError if it is not.
 */
export async function checkOut(args: Arguments, out: string, kind: Written): Promise<void> {
  if (isHub(out)) {
    throw new UsageError(`Commands read addresses of the hub, and write files and folders. --out is "${out}".`);
  }
  const stats = await stat(out).catch(() => undefined);
  if (stats === undefined || (stats.isDirectory() && (await readdir(out)).every(name => name.startsWith(CLAIM)))) {
    return;
  }
  const isFile = namesFile(out);
  if (stats.isDirectory() === isFile) {
    throw new LoRAError(`${out} is a ${isFile ? 'folder, and --out names a file' : 'file, and --out names a folder'}.`);
  }
  const there = await sourceAt(out).then(
    source => KINDS[source.kind],
    () => undefined,
  );
  const {out: _, ...inputOptions} = args.values;
  const isInput = await isOneOf(out, [...args.paths, ...Object.values(inputOptions)]);
  if (there === undefined ? isInput : there !== kind) {
    throw new LoRAError(
      `${out} ${there === undefined ? 'is read by this command' : `holds ${there}`}, and would get ${kind}. ` +
        'Choose another --out.',
    );
  }
  if (!args.switches.has('force')) {
    throw new LoRAError(
      `${out} ${isInput ? 'is what this command reads' : 'exists'}. Choose another --out, or replace it with --force.`,
    );
  }
}

/** Prefix of a command's lock in the folder that it writes. */
const CLAIM = '.tfjs-lora';

/**
 * Writes to a place that `checkOut` allows. If several commands run at once, the first writes and the others fail.
 *
 * @throws LoRAError if the place is not free any more, or cannot be written.
 */
export async function writeTo(args: Arguments, out: string, kind: Written, write: () => Promise<void>): Promise<void> {
  const isFile = namesFile(out) && !OF_A_FOLDER.test(basename(out));
  const folder = namesFile(out) ? dirname(out) : out;
  let isNew = false;
  try {
    isNew = (await mkdir(folder, {recursive: true})) !== undefined;
    await locked(isFile ? out : join(folder, CLAIM), async () => {
      await checkOut(args, out, kind);
      await write();
    });
  } catch (error) {
    if (isNew) {
      await rmdir(folder).catch(() => undefined); // it stays if there is something in it
    }
    throw asLoRAError(error, `Cannot write ${out}`, 'ERR_IO');
  }
}

function namesFile(out: string): boolean {
  return ['.json', '.safetensors', '.onnx'].includes(extname(basename(out)));
}

/** Whether a path leads to the same file as one of several. Some option values are not paths. */
async function isOneOf(path: string, inputPaths: readonly (string | undefined)[]): Promise<boolean> {
  const place = async (name: string) => {
    const real = await realpath(name).catch(() => undefined);
    return real !== undefined && OF_A_FOLDER.test(basename(real)) ? dirname(real) : real;
  };
  const places = await Promise.all(inputPaths.flatMap(other => (other === undefined ? [] : [place(other)])));
  return places.includes(await place(path));
}

/** A file that lists the contents of its folder. */
const OF_A_FOLDER = /^(?:model\.json|adapter_config\.json|adapter_model\.safetensors)$/;

/**
 * Writes an adapter.
 *
 * @throws LoRAError if it cannot be written so. Then earlier files are as they were.
 */
export async function writeAdapter(
  adapter: Adapter,
  args: Arguments,
  {out, format, options}: AdapterTarget,
  {model, keyMap}: Beside,
  {err}: Terminal,
): Promise<void> {
  err(`Writing ${out}`);
  await writeTo(args, out, kindOf(format), async () => {
    await (format === 'peft'
      ? saveAdapter(adapter, out, {format, ...(model && {model}), ...(keyMap && {keyMap}), ...options})
      : saveAdapter(adapter, fileHandler(out), {format, ...options}));
  });
}

export async function writeONNX(file: Uint8Array, args: Arguments, out: string, {err}: Terminal): Promise<void> {
  err(`Writing ${out}`);
  await writeTo(args, out, 'a model', () => replaceFile(out, file));
}

/** The paths that a command takes, if their number is right. */
export function pathsOf({paths}: Arguments, least: number, most: number, what: string): string[] {
  if (paths.length < least || paths.length > most) {
    throw new UsageError(`Give ${what}, got ${paths.length === 0 ? 'no path' : paths.join(' ')}.`);
  }
  return paths;
}
