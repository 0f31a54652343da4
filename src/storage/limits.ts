import {checkOptions, LoRAError, show} from '../errors';

/** How much may be read, and how long. */
export interface LoadOptions {
  /** Ends the load when it is aborted; the promise is then rejected with the signal's reason. */
  signal?: AbortSignal;
  /**
   * The most bytes that are read, counted after decompression: a few hundred kilobytes of gzip can swell to gigabytes.
   * Default: 268,435,456 (256 MiB) for what is fetched; what is on this machine has no limit unless one is given.
   */
  maxBytes?: number;
}

/** What is fetched has this limit if no other is given. */
export const MOST_FETCHED = 2 ** 28;

/** @throws LoRAError if a limit is not a number of bytes or a signal is not an AbortSignal. */
export function checkLimits(options: LoadOptions): void {
  checkOptions(options, {signal: true, maxBytes: true});
  const {signal, maxBytes} = options;
  if (maxBytes !== undefined && !(typeof maxBytes === 'number' && maxBytes > 0)) {
    throw new LoRAError(`maxBytes must be a number of bytes, got ${show(maxBytes)}.`);
  }
  if (signal !== undefined && typeof (signal as Partial<AbortSignal> | null)?.throwIfAborted !== 'function') {
    throw new LoRAError(`signal must be an AbortSignal, such as that of an AbortController, got ${show(signal)}.`);
  }
}

/** The error for something that has more bytes than are allowed. */
export function tooLarge(what: string, maxBytes: number): LoRAError {
  return new LoRAError(
    `${what} has more than the ${maxBytes.toLocaleString('en')} bytes that are allowed. If it should have, pass ` +
      '{maxBytes}.',
  );
}

/** What a promise gives, or the reason of a signal that is aborted first. */
export async function unlessAborted<T>(promise: PromiseLike<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) {
    return promise;
  }
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the caller's own reason
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort);
    stop = () => signal.removeEventListener('abort', abort);
    if (signal.aborted) {
      abort();
    }
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    stop();
  }
}

/**
 * The bytes of a response, of which no more is kept than is allowed.
 *
 * @throws LoRAError if there are more, and the signal's reason if it is aborted.
 */
export async function readBody(
  response: Response,
  {signal, maxBytes = MOST_FETCHED}: LoadOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  const what = response.url || 'The response';
  if (Number(response.headers.get('content-length') ?? 0) > maxBytes) {
    await response.body?.cancel();
    throw tooLarge(what, maxBytes);
  }
  const reader = response.body?.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for (;;) {
      const {done, value} = (await unlessAborted(
        reader?.read() ?? END,
        signal,
      )) as ReadableStreamReadResult<Uint8Array>;
      if (done) {
        break;
      }
      length += value.length;
      if (length > maxBytes) {
        throw tooLarge(what, maxBytes);
      }
      chunks.push(value);
    }
  } catch (error) {
    // Not awaited: who sends without end need not agree.
    reader?.cancel(error).catch(() => undefined);
    throw error;
  }
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

/** What the reader of a missing body would return. */
const END = Promise.resolve({done: true as const, value: undefined});

/** A `fetch` for several files that together have the limit of one. When one fails, the others end. */
export function limitedFetch({signal, maxBytes = MOST_FETCHED}: LoadOptions): typeof fetch {
  let left = maxBytes;
  const all = new AbortController();
  signal?.addEventListener('abort', () => all.abort(signal.reason), {signal: all.signal});
  return async (input, init) => {
    try {
      const response = await fetch(input, {...init, signal: all.signal});
      const bytes = await readBody(response, {maxBytes, signal: all.signal});
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
