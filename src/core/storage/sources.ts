import {asLoRAError, ioError, kindOf, LoRAError, notFoundError} from '../../platform/errors';
import {ByteReader, type ByteStream, concatenate} from '../../platform/formats/byteReader';
import {jsonText} from '../../platform/formats/explained';
import {type CallOptions, throwIfAborted, unlessAborted} from '../../platform/signals';
import {type LoadOptions, MAX_FETCHED_BYTES} from './limits';
import {tooLarge} from './tooLarge';
import {localFilesFor} from './localFiles';
import type {Revisions} from './hub/hub';
import {isHub} from './hubName';

/** Where bytes come from in a browser: a file that was picked or dropped, a response of `fetch`, bytes. */
export type ByteSource = Blob | Response | ArrayBuffer | Uint8Array;

/** Where the bytes of a large file come from: what `ByteSource` names, or a URL; in Node a path too. */
export type StreamSource = ByteSource | URL | string;

/**
 * All bytes of a source.
 *
 * @throws LoRAError if it is no source of bytes, a response is no success, or it has more bytes than are allowed.
 */
export async function bytesOf(
  pending: ByteSource | PromiseLike<ByteSource>,
  options: LoadOptions & CallOptions,
): Promise<Uint8Array> {
  const source = await unlessAborted(Promise.resolve(pending), options.signal);
  return readAll(open(source, options), options);
}

/** Options of a load that may take several addresses. */
export interface SourceOptions extends LoadOptions {
  /** The commits of the hub's branches in this load, filled by it, so that its files belong together. */
  readonly revisions?: Revisions;
}

interface OpenOptions extends SourceOptions {
  /** The limit of what is fetched if no other is given. */
  readonly mostFetched?: number;
}

/**
 * Reads a source in pieces, by default without a limit: such callers check what fits before holding it.
 *
 * @throws LoRAError as `bytesOf`.
 */
export async function readerOf(
  pending: StreamSource | PromiseLike<StreamSource>,
  limits: SourceOptions,
): Promise<ByteReader> {
  const options: OpenOptions = {...limits, mostFetched: Infinity};
  const source = await unlessAborted(Promise.resolve(pending), options.signal);
  return typeof source === 'string' || source instanceof URL
    ? new ByteReader(open(await fetched(source, options), options, shortened(source)))
    : new ByteReader(open(source, options));
}

/** The first bytes of a response, whatever its status: at least `most`, if there are so many. The rest is not read. */
export async function beginningOf(response: Response, most: number, {signal}: LoadOptions): Promise<Uint8Array> {
  const stream = openBody(response, {maxBytes: Infinity, ...(signal && {signal})});
  const chunks: Uint8Array[] = [];
  try {
    for (let left = most; left > 0;) {
      const chunk = await stream.next();
      left -= chunk?.length ?? left;
      chunks.push(...(chunk === undefined ? [] : [chunk]));
    }
  } finally {
    stream.cancel(undefined);
  }
  return concatenate(chunks);
}

/**
 * The response to the request of an address, or in Node the file that it names.
 *
 * @throws LoRAError if it is no valid address, or there is no response; of code `ERR_ABORTED` if the signal is aborted.
 */
export async function fetched(address: URL | string, options: SourceOptions): Promise<Response | Blob> {
  const files = localFilesFor(address);
  if (files !== undefined) {
    return files.open(String(address));
  }
  if (isHub(address)) {
    return (await hub()).hubResponse(String(address), options);
  }
  const {signal} = options;
  try {
    return await fetch(address, signal ? {signal} : undefined);
  } catch (error) {
    throwIfAborted(signal);
    throw asLoRAError(error, `${shortened(address)} cannot be fetched`, 'ERR_IO');
  }
}

/** The addresses of the files in a folder; `undefined` if it is none, or they cannot be listed, as on the web. */
export async function listFolder(folder: URL | string, options: SourceOptions): Promise<string[] | undefined> {
  const place = String(folder);
  return isHub(place) ? (await hub()).hubList(place, options) : localFilesFor(place)?.list(place);
}

/** Most pages load nothing by such an address. */
function hub(): Promise<typeof import('./hub/hub')> {
  return import('./hub/hub').catch((error: unknown) => {
    throw asLoRAError(error, 'The code that reads hf:// addresses could not be loaded', 'ERR_IO');
  });
}

function shortened(address: URL | string): string {
  const text = String(address);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

/** A `fetch` for several files that together have the limit of one. When one fails, the others end. */
export function limitedFetch(options: LoadOptions & CallOptions): typeof fetch {
  const {signal, maxBytes = MAX_FETCHED_BYTES} = options;
  let left = maxBytes;
  let isFirst = true;
  const revisions: Revisions = new Map();
  const all = new AbortController();
  signal?.addEventListener('abort', () => all.abort(signal.reason), {signal: all.signal});
  return async (input, init) => {
    try {
      const response = isHub(input)
        ? await (
            await hub()
          ).hubResponse(input instanceof Request ? input.url : String(input), {signal: all.signal, revisions})
        : await fetch(input, {...init, signal: all.signal});
      checkStatus(response);
      const bytes = await readAll(openBody(response, {...options, signal: all.signal}), options);
      // tfjs reads the JSON first, and says little where that is something else.
      await (isFirst && jsonText(bytes, 'a JSON file'));
      isFirst = false;
      left -= bytes.length;
      if (left < 0) {
        throw tooLarge(`What ${response.url || 'the URL'} names`, maxBytes);
      }
      const {status, statusText, headers} = response;
      const isEmpty = [101, 204, 205, 304].includes(status);
      return new Response(isEmpty ? null : bytes, {status, statusText, headers});
    } catch (error) {
      all.abort(error);
      throw error;
    }
  };
}

/** Whether a value is a source of bytes. Nothing that JSON holds is one. */
export function isByteSource(value: unknown): value is ByteSource {
  return (
    value instanceof ArrayBuffer ||
    value instanceof Uint8Array ||
    isResponse(value) ||
    typeof (value as Partial<Blob> | null | undefined)?.stream === 'function'
  );
}

/** Whether a value is a list of files, such as the `files` of an input. */
export function isListOfFiles(source: unknown): source is ArrayLike<File> {
  return typeof source === 'object' && source !== null && 'length' in source && !isByteSource(source);
}

function isResponse(value: unknown): value is Response {
  const {body, ok, arrayBuffer} = (value ?? {}) as Partial<Response>;
  return typeof body === 'object' && typeof ok === 'boolean' && typeof arrayBuffer === 'function';
}

function open(source: ByteSource, options: OpenOptions, what = 'The file'): ByteStream {
  const {signal, maxBytes = Infinity} = options;
  if (!isByteSource(source)) {
    throw new LoRAError(
      `Pass a URL, a File, a Blob, a Response, an ArrayBuffer or a Uint8Array, got ${kindOf(source)}.`,
    );
  }
  if (isResponse(source)) {
    checkStatus(source);
    return openBody(source, options);
  }
  const bytes = source instanceof ArrayBuffer ? new Uint8Array(source) : source;
  const isBytes = bytes instanceof Uint8Array;
  if ((isBytes ? bytes.length : bytes.size) > maxBytes) {
    throw tooLarge(what, maxBytes);
  }
  return isBytes ? singleChunk(bytes) : readStream(bytes.stream(), bytes.size, {signal, what, maxBytes});
}

/** @throws LoRAError if a server did not send what was asked for. */
function checkStatus({ok, url, status, statusText, body}: Response): void {
  if (!ok) {
    leave(body);
    const message = `${url || 'The response'}: ${status} ${statusText}`.trim() + '.';
    throw [404, 410].includes(status) ? notFoundError(message) : ioError(message);
  }
}

/** Compressed data may always swell to this, and to 100 times the bytes that are sent. */
const LEAST_SWOLLEN = 2 ** 24;

function openBody({url, headers, body}: Response, options: OpenOptions): ByteStream {
  const {signal, maxBytes: asked, mostFetched = MAX_FETCHED_BYTES} = options;
  const what = url || 'The response';
  const sent = Number(headers.get('content-length') ?? 0);
  const isCompressed = sent > 0 && headers.has('content-encoding');
  const maxBytes = asked ?? (isCompressed ? Math.min(mostFetched, Math.max(LEAST_SWOLLEN, 100 * sent)) : mostFetched);
  if (sent > maxBytes) {
    leave(body);
    throw tooLarge(what, maxBytes);
  }
  // No size: where it was compressed, the length that is sent is not the length that arrives.
  return body === null ? singleChunk(new Uint8Array(0)) : readStream(body, null, {signal, what, maxBytes});
}

/** Reads no more of a stream. Not awaited: a sender that never ends need not agree. */
function leave(stream: {cancel(reason?: unknown): Promise<void>} | null, reason?: unknown): void {
  stream?.cancel(reason).catch(() => undefined);
}

function singleChunk(bytes: Uint8Array): ByteStream {
  const chunks = [bytes];
  return {next: () => Promise.resolve(chunks.pop()), size: bytes.length, cancel: () => undefined};
}

function readStream(
  stream: ReadableStream<Uint8Array>,
  size: number | null,
  {signal, what, maxBytes}: {signal: AbortSignal | undefined; what: string; maxBytes: number},
): ByteStream {
  const reader = stream.getReader();
  let length = 0;
  const next = async () => {
    const {done, value} = await unlessAborted(reader.read(), signal).catch((error: unknown) => {
      throwIfAborted(signal);
      throw asLoRAError(error, `${what} cannot be read beyond byte ${length.toLocaleString('en')}`, 'ERR_IO');
    });
    length += value?.length ?? 0;
    if (length > maxBytes) {
      throw tooLarge(what, maxBytes);
    }
    return done ? undefined : value;
  };
  return {next, size, cancel: reason => leave(reader, reason)};
}

async function readAll(stream: ByteStream, {onProgress}: CallOptions): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let done = 0;
  try {
    for (let chunk = await stream.next(); chunk !== undefined; chunk = await stream.next()) {
      chunks.push(chunk);
      done += chunk.length;
      onProgress?.({done, total: stream.size ?? Infinity, what: 'reading bytes'});
    }
  } catch (error) {
    stream.cancel(error);
    throw error;
  }
  return concatenate(chunks);
}
