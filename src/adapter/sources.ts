import {type Adapter, kindOf} from '../config';
import {LoRAError} from '../errors';
import {PEFT_FILES, type PEFTFiles} from '../formats/peft';
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
 * @throws LoRAError if the source is none, the response is no success, or the bytes are not an adapter.
 */
export async function readAdapter(source: ByteSource | PromiseLike<ByteSource>): Promise<Adapter> {
  return fromSafetensors(await bytesOf(await source));
}

/**
 * The two files of a PEFT adapter, for `importPEFT`.
 *
 *     importPEFT(await readPEFT(input.files), model)
 *     importPEFT(await readPEFT({config: fetch(`${url}/adapter_config.json`), weights: fetch(`${url}/adapter_model.safetensors`)}), model)
 *
 * @param sources the two, or files among which those of their names are.
 * @throws LoRAError if one is missing, or a response is no success.
 */
export async function readPEFT(sources: PEFTSources | ArrayLike<File>): Promise<PEFTFiles> {
  if (typeof sources !== 'object' || (sources as unknown) === null) {
    throw new LoRAError(
      `Give the two files of a PEFT adapter, {config, weights}, or files among which they are, got ${kindOf(sources)}.`,
    );
  }
  const {config, weights} = 'length' in sources ? amongFiles(Array.from(sources)) : sources;
  const [configBytes, weightBytes] = await Promise.all([config, weights].map(async source => bytesOf(await source)));
  return {config: new TextDecoder().decode(configBytes), weights: weightBytes as Uint8Array};
}

function amongFiles(files: readonly File[]): PEFTSources {
  const named = (wanted: string) => {
    const file = files.find(({name}) => name === wanted);
    if (file === undefined) {
      throw new LoRAError(
        `There is no ${wanted} among the files: ${files.map(({name}) => name).join(', ') || 'there are none'}.`,
      );
    }
    return file;
  };
  return {config: named(PEFT_FILES.config), weights: named(PEFT_FILES.weights)};
}

async function bytesOf(source: ByteSource): Promise<Uint8Array> {
  if (source instanceof Uint8Array) {
    return source;
  }
  if (source instanceof ArrayBuffer) {
    return new Uint8Array(source);
  }
  if (typeof (source as Partial<Blob> | null | undefined)?.arrayBuffer !== 'function') {
    throw new LoRAError(`Give a File, a Blob, a Response, an ArrayBuffer or a Uint8Array, got ${kindOf(source)}.`);
  }
  if ('ok' in source && !source.ok) {
    throw new LoRAError(`${source.url || 'The response'}: ${source.status} ${source.statusText}`.trim() + '.');
  }
  return new Uint8Array(await source.arrayBuffer());
}
