import {kindOf, LoRAError, messageOf} from './errors';

/** The progress of a call. */
export interface CallProgress {
  /** How much is done, from 0 to `total`, in the unit of `what`: bytes, layers, tensors, … */
  readonly done: number;
  /** `Infinity` if unknown, as for a response without a length. */
  readonly total: number;
  /** What is being done, such as `"reading bytes"`. */
  readonly what: string;
}

/** Called as a call goes on. If it throws, the call ends with that error. */
export type OnProgress = (progress: CallProgress) => void;

/** Options of calls that may take more than a second. */
export interface CallOptions {
  /** Ends the call when it is aborted: the promise is rejected with a `LoRAError` of code `ERR_ABORTED`. */
  signal?: AbortSignal;
  /** Called with the progress of the call. */
  onProgress?: OnProgress;
}

/** @throws LoRAError if the signal is not an AbortSignal, or `onProgress` is not a function. */
export function checkCallOptions({signal, onProgress}: CallOptions): void {
  if (signal !== undefined && typeof (signal as Partial<AbortSignal> | null)?.throwIfAborted !== 'function') {
    throw new LoRAError(`signal must be an AbortSignal, such as that of an AbortController, got ${kindOf(signal)}.`);
  }
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new LoRAError(`onProgress must be a function of {done, total, what}, got ${kindOf(onProgress)}.`);
  }
}

/** @throws LoRAError with code `ERR_ABORTED` if the signal is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) {
    throw abortError(signal);
  }
}

/** The error for an aborted call, whose cause is the signal's reason. */
export function abortError({reason}: AbortSignal): LoRAError {
  return new LoRAError(`The call was aborted: ${messageOf(reason)}`, {code: 'ERR_ABORTED', cause: reason});
}

/**
 * Runs `f`. An error of `onProgress` ends the call unchanged; handlers of tfjs would wrap it in an error.
 *
 * @param f takes the options with a watched `onProgress`.
 */
export async function withOwnErrors<O extends CallOptions, T>(options: O, f: (watched: O) => Promise<T>): Promise<T> {
  const {onProgress} = options;
  const thrown: unknown[] = [];
  const watched = (progress: CallProgress) => {
    try {
      onProgress?.(progress);
    } catch (error) {
      thrown.push(error);
      throw error;
    }
  };
  try {
    return await f({...options, onProgress: watched});
  } catch (error) {
    throw thrown.length > 0 ? thrown[0] : error;
  }
}

/**
 * Resolves to the value of a promise, unless a signal is aborted first.
 *
 * @throws LoRAError with code `ERR_ABORTED` then.
 */
export async function unlessAborted<T>(promise: PromiseLike<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) {
    return promise;
  }
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    const abort = () => reject(abortError(signal));
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

/** The maximum time, in milliseconds, that events wait for the steps of a call. */
const EVENTS_WAIT = 10;

/** Lets waiting events run, without a timer: a timer of a page takes at least 4 ms, and one of Node more than one. */
export function eventsRun(): Promise<void> {
  return new Promise(resolve => {
    const {port1, port2} = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

export type Step = (progress: CallProgress) => Promise<void>;

/**
 * Makes the function to await between the steps of a call. It reports the progress, lets events run now and then, so
 * that a click can abort the call, and throws if the signal is aborted. Without options it does nothing.
 *
 *     const step = stepsOf(options);
 *     for (const [done, layer] of layers.entries()) {
 *       await step({done, total: layers.length, what: 'compressing layers'});
 *       await compress(layer);
 *     }
 */
export function stepsOf({signal, onProgress}: CallOptions): Step {
  let last = performance.now();
  return async progress => {
    throwIfAborted(signal);
    onProgress?.(progress);
    if ((signal !== undefined || onProgress !== undefined) && performance.now() - last > EVENTS_WAIT) {
      await eventsRun();
      last = performance.now();
    }
    throwIfAborted(signal);
  };
}
