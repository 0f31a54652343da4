import type {Adapter} from '../adapter/adapter';
import {kindOf, LoRAError} from '../errors';
import {checkLimits, type LoadOptions, readBody, tooLarge, unlessAborted} from './limits';
import {fromSafetensors} from './safetensors';

/** Where bytes come from in a browser: a file that was picked or dropped, a response of `fetch`, bytes. */
export type ByteSource = Blob | Response | ArrayBuffer | Uint8Array;

/**
 * The adapter in a safetensors file, from wherever a browser has it.
 *
 *     await readAdapter(fetch('emoji.safetensors'))
 *     await readAdapter(input.files[0])
 *
 * @throws LoRAError if it is not a source, the response failed, it has more bytes than are allowed, or they are not an
 * adapter.
 */
export async function readAdapter(
  source: ByteSource | PromiseLike<ByteSource>,
  options: LoadOptions = {},
): Promise<Adapter> {
  checkLimits(options);
  return fromSafetensors(await bytesOf(source, options));
}

export async function bytesOf(given: ByteSource | PromiseLike<ByteSource>, options: LoadOptions): Promise<Uint8Array> {
  const {signal, maxBytes} = options;
  const source = await unlessAborted(Promise.resolve(given), signal);
  if (isResponse(source)) {
    if (!source.ok) {
      throw new LoRAError(`${source.url || 'The response'}: ${source.status} ${source.statusText}`.trim() + '.');
    }
    return readBody(source, options);
  }
  const bytes = withinLimit(source, maxBytes);
  if (bytes instanceof Uint8Array) {
    return bytes;
  }
  if (typeof (bytes as Partial<Blob> | null | undefined)?.arrayBuffer !== 'function') {
    throw new LoRAError(`Give a File, a Blob, a Response, an ArrayBuffer or a Uint8Array, got ${kindOf(source)}.`);
  }
  return new Uint8Array(await unlessAborted(bytes.arrayBuffer(), signal));
}

export function isResponse(source: ByteSource): source is Response {
  return typeof (source as Partial<Response> | null | undefined)?.body === 'object' && 'ok' in source;
}

/**
 * A file or bytes. What is something else has no size, and is left to the caller to refuse.
 *
 * @throws LoRAError if there are more bytes than are allowed.
 */
export function withinLimit(source: Blob | ArrayBuffer | Uint8Array, maxBytes: number | undefined): Blob | Uint8Array {
  const bytes = source instanceof ArrayBuffer ? new Uint8Array(source) : source;
  const size = bytes instanceof Uint8Array ? bytes.length : (bytes as Partial<Blob> | null | undefined)?.size;
  if (maxBytes !== undefined && size !== undefined && size > maxBytes) {
    throw tooLarge('The file', maxBytes);
  }
  return bytes;
}
