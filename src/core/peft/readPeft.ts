import {kindOf, listed, LoRAError, notFoundError} from '../../platform/errors';
import {jsonText} from '../../platform/formats/explained';
import {type CallOptions, unlessAborted} from '../../platform/signals';
import type {LoadOptions} from '../storage/limits';
import {localFilesFor} from '../storage/localFiles';
import {bytesOf, type ByteSource, fetched, isByteSource, type SourceOptions} from '../storage/sources';
import {PEFT_FILES, type PEFTFiles} from './peftFiles';

/** The two files of a PEFT adapter. */
export interface PEFTSources {
  /** `adapter_config.json`: its bytes, its text, or the object that it holds. */
  config: string | Readonly<Record<string, unknown>> | ByteSource | PromiseLike<ByteSource>;
  /** `adapter_model.safetensors`. */
  weights: ByteSource | PromiseLike<ByteSource>;
}

/** Where a PEFT adapter may be: its files, a list with files of their names, or the address of their folder. */
export type PEFTSource = PEFTSources | ArrayLike<File> | string | URL;

/**
 * Reads the two files of a PEFT adapter.
 *
 * @throws LoRAError if one is missing, a response is no success, or one has more bytes than are allowed.
 */
export async function readPEFT(source: PEFTSource, options: SourceOptions & CallOptions): Promise<PEFTFiles> {
  if (typeof source === 'string' || source instanceof URL) {
    return readFolder(String(source), options);
  }
  if (typeof source !== 'object' || (source as unknown) === null) {
    throw new LoRAError(
      'Pass the folder of a PEFT adapter, its two files as {config, weights}, or a list of files that includes ' +
        `them, got ${kindOf(source)}.`,
    );
  }
  const {config, weights} = 'length' in source ? amongFiles(Array.from(source)) : source;
  checkFiles({config, weights});
  const [text, bytes] = await Promise.all([textOf(config, options), bytesOf(weights, options)]);
  return {config: text, weights: bytes};
}

/** @throws LoRAError if one of the files is missing. */
function checkFiles(files: unknown): void {
  const {config, weights} = (files ?? {}) as {config?: unknown; weights?: unknown};
  if (config == null || weights == null) {
    throw new LoRAError('Expected the two files of a PEFT adapter, {config, weights}, as exportPEFT returns them.');
  }
}

/** Reads the files in a folder, which is given by itself or by one of them. */
async function readFolder(address: string, options: SourceOptions & CallOptions): Promise<PEFTFiles> {
  const files = localFilesFor(address);
  const plain = files === undefined ? address.replace(/[?#].*$/s, '') : address;
  const folder = plain.replace(/(?:^|[/\\])(?:adapter_config\.json|adapter_model\.safetensors)?$/, '');
  if (files !== undefined) {
    return unlessAborted(files.readPEFT(folder === '' ? '.' : folder), options.signal);
  }
  const [config, weights] = [PEFT_FILES.config, PEFT_FILES.weights].map(name =>
    fetched(folder === '' ? name : `${folder}/${name}`, options),
  ) as [Promise<Response>, Promise<Response>];
  return readPEFT({config, weights}, options);
}

async function textOf(config: PEFTSources['config'], options: LoadOptions): Promise<PEFTFiles['config']> {
  const resolved = await unlessAborted(Promise.resolve(config), options.signal);
  return jsonText(isByteSource(resolved) ? await bytesOf(resolved, options) : resolved, PEFT_FILES.config);
}

function amongFiles(files: readonly File[]): PEFTSources {
  const named = (wanted: string) => {
    const file = files.find(({name}) => name === wanted);
    if (file === undefined) {
      throw notFoundError(
        `There is no ${wanted} among the files: ${listed(files.map(({name}) => name)) || 'there are none'}.`,
      );
    }
    return file;
  };
  return {config: named(PEFT_FILES.config), weights: named(PEFT_FILES.weights)};
}
