import {asLoRAError, kindOf, LoRAError} from '../errors';
import {ByteReader} from '../formats/byteReader';
import {type LoadOptions, MOST_FETCHED, tooLarge, unlessAborted} from './limits';
import {type ByteSource, isResponse, withinLimit} from './sources';

/** Where the bytes of a large file come from: what `ByteSource` names, or a URL. */
export type StreamSource = ByteSource | URL | string;

/**
 * Reads a source piece by piece.
 *
 * @throws LoRAError if it is no source of bytes, a response is no success, or it has more bytes than are allowed.
 */
export async function readerOf(
  given: StreamSource | PromiseLike<StreamSource>,
  options: LoadOptions,
): Promise<ByteReader> {
  const {signal, maxBytes} = options;
  const named = await unlessAborted(Promise.resolve(given), signal);
  const source = typeof named === 'string' || named instanceof URL ? await fetched(named, options) : named;
  if (isResponse(source)) {
    return ofResponse(source, options);
  }
  const bytes = withinLimit(source, maxBytes);
  if (bytes instanceof Uint8Array) {
    return ByteReader.of(bytes);
  }
  if (typeof (bytes as Partial<Blob> | null | undefined)?.stream !== 'function') {
    throw new LoRAError(
      `Give a URL, a File, a Blob, a Response, an ArrayBuffer or a Uint8Array, got ${kindOf(source)}.`,
    );
  }
  return ofStream(bytes.stream(), bytes.size, {signal});
}

/**
 * What an address answers.
 *
 * @throws LoRAError if it is no valid address, or there is no answer; the signal's reason if it is aborted.
 */
export async function fetched(address: URL | string, {signal}: LoadOptions): Promise<Response> {
  try {
    return await fetch(address, signal ? {signal} : undefined);
  } catch (error) {
    signal?.throwIfAborted();
    throw asLoRAError(error, `${shown(String(address))} cannot be fetched`);
  }
}

function shown(address: string): string {
  return address.length > 200 ? `${address.slice(0, 200)}…` : address;
}

async function ofResponse(response: Response, {signal, maxBytes = MOST_FETCHED}: LoadOptions): Promise<ByteReader> {
  const what = response.url || 'The response';
  if (!response.ok || response.body === null) {
    throw new LoRAError(
      `${what}: ${response.ok ? 'nothing in it' : `${response.status} ${response.statusText}`}`.trim() + '.',
    );
  }
  if (Number(response.headers.get('content-length') ?? 0) > maxBytes) {
    await response.body.cancel();
    throw tooLarge(what, maxBytes);
  }
  // The length of what is sent, which a compression makes another than that of what arrives.
  return ofStream(response.body, null, {signal, limit: {what, maxBytes}});
}

function ofStream(
  stream: ReadableStream<Uint8Array>,
  size: number | null,
  {signal, limit}: {signal?: AbortSignal | undefined; limit?: {what: string; maxBytes: number}},
): ByteReader {
  const reader = stream.getReader();
  let length = 0;
  const cancel = (reason: unknown) => {
    // Not awaited: who sends without end need not agree.
    reader.cancel(reason).catch(() => undefined);
  };
  const next = async () => {
    const {done, value} = await unlessAborted(reader.read(), signal);
    length += value?.length ?? 0;
    if (limit !== undefined && length > limit.maxBytes) {
      throw tooLarge(limit.what, limit.maxBytes);
    }
    return done ? undefined : value;
  };
  return new ByteReader(next, size, cancel);
}
