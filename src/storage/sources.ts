import type {Adapter} from '../adapter/adapter';
import {kindOf, LoRAError} from '../errors';
import {fromSafetensors} from './safetensors';

/** Where bytes come from in a browser: a file that was picked or dropped, a response of `fetch`, bytes. */
export type ByteSource = Blob | Response | ArrayBuffer | Uint8Array;

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

export async function bytesOf(source: ByteSource): Promise<Uint8Array> {
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
