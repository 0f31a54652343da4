import {ioError} from '../../platform/errors';
import {abortError, checkCallOptions, throwIfAborted} from '../../platform/signals';
import type {Served} from './serve';
import {type Call, type Message, packed, packedError, type Request, unpackedError} from './wire';

/** A worker of a page, or of `node:worker_threads`. */
export interface AnyWorker {
  /** Sends a message. */
  postMessage(message: unknown, transfer: never[]): void;
  /** Ends the worker. */
  terminate(): unknown;
  /** How a page is told of errors. */
  addEventListener?(type: 'error', listener: (event: {readonly message?: string}) => void): void;
  /** How Node is told of them. */
  on?(type: 'error', listener: (error: Error) => void): unknown;
}

/** The functions of a worker, as the page calls them. */
export type Connected<Functions extends Served> = {
  readonly [Name in keyof Functions]: (
    ...args: Parameters<Functions[Name]>
  ) => Awaited<ReturnType<Functions[Name]>> extends AsyncIterable<infer Value>
    ? AsyncIterable<Value>
    : Promise<Awaited<ReturnType<Functions[Name]>>>;
};

/** Options of `connect`. */
export interface ConnectOptions {
  /** Ends the worker when it is aborted, in the middle of a step too. Its calls are rejected with `ERR_ABORTED`. */
  signal?: AbortSignal;
}

/**
 * Makes functions that call those which a worker serves with `serve`. They return promises, or async iterables for
 * functions that return those. Functions and signals may be arguments or fields of them.
 *
 * Errors keep their name, message and stack, and those of this library their `code` and `faults`. If the worker does
 * not load, all calls are rejected.
 *
 * @param worker made by `new Worker(new URL('./train.worker.js', import.meta.url), {type: 'module'})`, or by Node.
 * @param options a signal that ends the worker.
 * @returns an object with a function for each name. In TypeScript, pass the type of what is served.
 * @throws LoRAError `ERR_OPTION` if the signal is not one, `ERR_ABORTED` if it is aborted. A call rejects with `ERR_IO`
 *     if the worker fails.
 * @example
 *     type Functions = {train(options: {epochs: number; onEpoch(loss: number): void}): Promise<Uint8Array>};
 *     const {train} = connect<Functions>(worker);
 *     const bytes = await train({epochs: 20, onEpoch: loss => console.log(loss)});
 * @experimental
 */
export function connect<Functions extends Served>(
  worker: AnyWorker,
  {signal}: ConnectOptions = {},
): Connected<Functions> {
  checkCallOptions({signal});
  if (signal?.aborted === true) {
    void worker.terminate();
    throwIfAborted(signal);
  }
  const failures = new Set<(error: unknown) => void>();
  let failure: Error | undefined;
  const fail = (error: Error) => {
    failure = error;
    failures.forEach(reject => reject(error));
  };
  const onError = (error: {readonly message?: string}) => {
    fail(ioError(`The worker failed: ${error.message ?? 'its script did not load'}`, {cause: error}));
  };
  worker.addEventListener?.('error', onError);
  worker.on?.('error', onError);
  signal?.addEventListener('abort', () => {
    void worker.terminate();
    fail(abortError(signal));
  });
  const call =
    (name: string) =>
    (...args: unknown[]) =>
      failure === undefined ? started(worker, name, args, failures) : Promise.reject(failure);
  return new Proxy({} as Connected<Functions>, {
    // Not a promise, for `await`.
    get: (_, name) => (typeof name === 'string' && name !== 'then' ? call(name) : undefined),
  });
}

/** A call: a promise of its result, and an iterable if that is one. */
function started(
  worker: AnyWorker,
  name: string,
  args: unknown[],
  failures: Set<(error: unknown) => void>,
): Promise<unknown> & AsyncIterable<unknown> {
  const {port1: port, port2} = new MessageChannel();
  const request = (message: Request) => port.postMessage(message);
  let waiting = deferred<IteratorResult<unknown>>();
  const result = deferred<unknown>();
  const over = new AbortController();
  const end = () => {
    over.abort();
    port.close();
    failures.delete(fail);
  };
  const fail = (error: unknown) => {
    result.reject(error);
    waiting.reject(error);
    end();
  };
  waiting.promise.catch(() => undefined); // if nothing is awaited
  const iterator = {
    next: () => {
      waiting = deferred();
      request({go: 'next'});
      return waiting.promise;
    },
    return: () => {
      request({go: 'return'});
      end();
      return Promise.resolve({done: true, value: undefined} as const);
    },
    [Symbol.asyncIterator]: () => iterator,
  };
  failures.add(fail);
  try {
    const {value, buffers, references} = packed(args);
    port.onmessage = ({data}: MessageEvent<Message>) => {
      if ('callback' in data) {
        const callback = references[data.callback];
        try {
          (callback as (...values: readonly unknown[]) => unknown)(...data.args);
        } catch (error) {
          fail(error);
        }
      } else if ('iterates' in data) {
        result.resolve(iterator);
      } else if ('error' in data) {
        fail(unpackedError(data.error));
      } else if ('next' in data) {
        waiting.resolve(data.next);
        if (data.next.done === true) {
          end();
        }
      } else {
        result.resolve(data.value);
        end();
      }
    };
    references.forEach((reference, index) => {
      if (reference instanceof AbortSignal) {
        const abort = () => request({abort: index, reason: packedError(reference.reason)});
        reference.addEventListener('abort', abort, {signal: over.signal});
      }
    });
    worker.postMessage({call: name, args: value, port: port2} satisfies Call, [port2, ...buffers] as never[]);
  } catch (error) {
    fail(error);
  }
  return Object.assign(result.promise, {
    [Symbol.asyncIterator]: () => ({
      next: async () => ((await result.promise) as typeof iterator).next(),
      return: async () => ((await result.promise) as typeof iterator).return(),
    }),
  });
}

/** `Promise.withResolvers`, which Node 20 does not have. */
function deferred<T>(): {promise: Promise<T>; resolve: (value: T) => void; reject: (error: unknown) => void} {
  let settle: Parameters<ConstructorParameters<typeof Promise<T>>[0]>;
  const promise = new Promise<T>((...both) => {
    settle = both;
  });
  return {promise, resolve: value => settle[0](value), reject: error => settle[1](error)};
}
