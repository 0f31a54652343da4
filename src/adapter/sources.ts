import {type Adapter, kindOf, refuseOthers} from '../config';
import {listed, LoRAError} from '../errors';
import {PEFT_FILES, type PEFTFiles} from '../formats/peft';
import {checkLimits, type LoadOptions, readBody, tooLarge, unlessAborted} from '../storage/limits';
import {fromSafetensors} from './safetensors';

/** Where bytes come from in a browser: a file that was picked or dropped, a response of `fetch`, bytes. */
export type ByteSource = Blob | Response | ArrayBuffer | Uint8Array;

/** The two files of a PEFT adapter. */
export interface PEFTSources {
  /** `adapter_config.json`. */
  config: ByteSource | PromiseLike<ByteSource>;
  /** `adapter_model.safetensors`. */
  weights: ByteSource | PromiseLike<ByteSource>;
}

/**
 * The adapter in a safetensors file, from wherever a browser has it.
 *
 *     await readAdapter(fetch('emoji.safetensors'))
 *     await readAdapter(input.files[0])
 *
 * @throws LoRAError if the source is none, the response is no success, it has more bytes than are allowed, or they are not an adapter.
 */
export async function readAdapter(
  source: ByteSource | PromiseLike<ByteSource>,
  {signal, maxBytes, ...others}: LoadOptions = {},
): Promise<Adapter> {
  refuseOthers(others, ['signal', 'maxBytes']);
  const limits = {...(signal && {signal}), ...(maxBytes !== undefined && {maxBytes})};
  checkLimits(limits);
  return fromSafetensors(await bytesOf(source, limits));
}

/**
 * The two files of a PEFT adapter, for `importPEFT`.
 *
 *     importPEFT(await readPEFT(input.files), model)
 *     importPEFT(await readPEFT({config: fetch(`${url}/adapter_config.json`), weights: fetch(`${url}/adapter_model.safetensors`)}), model)
 *
 * @param sources the two, or files among which those of their names are.
 * @throws LoRAError if one is missing, a response is no success, or one has more bytes than are allowed.
 */
export async function readPEFT(
  sources: PEFTSources | ArrayLike<File>,
  {signal, maxBytes, ...others}: LoadOptions = {},
): Promise<PEFTFiles> {
  refuseOthers(others, ['signal', 'maxBytes']);
  const limits = {...(signal && {signal}), ...(maxBytes !== undefined && {maxBytes})};
  checkLimits(limits);
  if (typeof sources !== 'object' || (sources as unknown) === null) {
    throw new LoRAError(
      `Give the two files of a PEFT adapter, {config, weights}, or files among which they are, got ${kindOf(sources)}.`,
    );
  }
  const {config, weights} = 'length' in sources ? amongFiles(Array.from(sources)) : sources;
  const [configBytes, weightBytes] = await Promise.all([config, weights].map(source => bytesOf(source, limits)));
  return {config: new TextDecoder().decode(configBytes), weights: weightBytes as Uint8Array};
}

function amongFiles(files: readonly File[]): PEFTSources {
  const named = (wanted: string) => {
    const file = files.find(({name}) => name === wanted);
    if (file === undefined) {
      throw new LoRAError(
        `There is no ${wanted} among the files: ${listed(files.map(({name}) => name)) || 'there are none'}.`,
      );
    }
    return file;
  };
  return {config: named(PEFT_FILES.config), weights: named(PEFT_FILES.weights)};
}

async function bytesOf(given: ByteSource | PromiseLike<ByteSource>, limits: LoadOptions): Promise<Uint8Array> {
  const {signal, maxBytes} = limits;
  const source = await unlessAborted(Promise.resolve(given), signal);
  if (typeof (source as Partial<Response> | null | undefined)?.body === 'object' && 'ok' in source) {
    if (!source.ok) {
      throw new LoRAError(`${source.url || 'The response'}: ${source.status} ${source.statusText}`.trim() + '.');
    }
    return readBody(source, limits);
  }
  const bytes = source instanceof ArrayBuffer ? new Uint8Array(source) : source;
  const size = bytes instanceof Uint8Array ? bytes.length : (bytes as Partial<Blob> | null | undefined)?.size;
  if (maxBytes !== undefined && size !== undefined && size > maxBytes) {
    throw tooLarge('The file', maxBytes);
  }
  if (bytes instanceof Uint8Array) {
    return bytes;
  }
  if (typeof (bytes as Partial<Blob> | null | undefined)?.arrayBuffer !== 'function') {
    throw new LoRAError(`Give a File, a Blob, a Response, an ArrayBuffer or a Uint8Array, got ${kindOf(source)}.`);
  }
  return new Uint8Array(await unlessAborted(bytes.arrayBuffer(), signal));
}
