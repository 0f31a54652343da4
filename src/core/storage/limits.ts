import {checkOptions, LoRAError, show} from '../../platform/errors';

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
