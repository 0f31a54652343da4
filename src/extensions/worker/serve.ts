import {LoRAError, show} from '../../platform/errors';
import {type Call, type Message, packed, packedError, type Request, unpacked, unpackedError} from './wire';

/** Functions that another thread may call. They may be async, or return an async iterable (`async function*`). */
export type Served = Readonly<Record<string, (...args: never[]) => unknown>>;

/** Where calls come from: a worker's `self`, or `parentPort` of Node. */
export interface Calls {
  /** How messages arrive. */
  addEventListener(type: 'message', listener: (event: {readonly data: unknown}) => void): void;
}

/**
 * Lets the page that made this worker call functions. Call this when the worker's script begins, before the first
 * `await` outside of functions.
 *
 * Arguments and results are copied, or moved with `transfer`. A function among the arguments, such as `onProgress`,
 * calls that of the page and returns nothing; an `AbortSignal` is aborted when that of the page is.
 *
 * @param functions by name.
 * @param calls where calls come from. Default: the worker's own; in Node, pass `parentPort` of `node:worker_threads`.
 * @throws LoRAError `ERR_OPTION`, in the page and not here, if it calls a function that is not served.
 * @example
 *     serve({
 *       async train({epochs, signal}: {epochs: number; signal?: AbortSignal}) {
 *         await fineTune(model, [xs, ys], {epochs, signal});
 *         return transfer(await toSafetensors(model));
 *       },
 *     });
 * @experimental
 */
export function serve(functions: Served, calls: Calls = globalThis): void {
  calls.addEventListener('message', ({data}) => {
    if (typeof (data as Partial<Call> | null)?.call === 'string') {
      void answer(functions, data as Call);
    }
  });
}

async function answer(functions: Served, {call, args, port}: Call): Promise<void> {
  const controllers = new Map<number, AbortController>();
  let iterator: AsyncIterator<unknown> | undefined;
  const post = (message: Message) => {
    const {value, buffers, references} = packed(message);
    if (references.length > 0) {
      throw new LoRAError('A function or a signal cannot be sent to the page. Serve the function by its name.');
    }
    port.postMessage(value, buffers);
  };
  const settle = async (reply: () => Promise<Message>) => {
    try {
      post(await reply());
    } catch (error) {
      post({error: packedError(error)});
    }
  };
  port.onmessage = ({data}: MessageEvent<Request>) => {
    if ('abort' in data) {
      controllers.get(data.abort)?.abort(unpackedError(data.reason));
    } else if (data.go === 'next') {
      void settle(async () => ({next: (await iterator?.next()) ?? {done: true, value: undefined}}));
    } else {
      void iterator?.return?.();
    }
  };
  await settle(async () => {
    const named = Object.hasOwn(functions, call) ? functions[call] : undefined;
    if (named === undefined) {
      throw new LoRAError(
        `The worker serves no function ${show(call)}. It serves: ${Object.keys(functions).join(', ')}.`,
      );
    }
    const values = unpacked(args, ({index, isSignal, aborted, reason}) => {
      if (!isSignal) {
        return (...callbackArgs: unknown[]) => post({callback: index, args: callbackArgs});
      }
      const controller = new AbortController();
      controllers.set(index, controller);
      if (aborted) {
        controller.abort(unpackedError(reason));
      }
      return controller.signal;
    });
    const value = await named(...(values as never[]));
    iterator = (value as Partial<AsyncIterable<unknown>> | null | undefined)?.[Symbol.asyncIterator]?.();
    return iterator === undefined ? {value} : {iterates: true};
  });
}
