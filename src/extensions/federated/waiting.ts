/** A pause of some milliseconds. @throws the signal's reason if it is aborted meanwhile. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await new Promise<void>(resolve => {
    const end = () => {
      clearTimeout(timer);
      forget();
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    const forget = whenAborted(signal, end);
  });
  signal.throwIfAborted();
}

/** Calls `f` when a signal is aborted, or now if it already is. @returns a function that cancels this. */
export function whenAborted(signal: AbortSignal, f: () => void): () => void {
  if (signal.aborted) {
    f();
  }
  signal.addEventListener('abort', f);
  return () => signal.removeEventListener('abort', f);
}

/** Thrown when a node that was asked to leave has waited long enough. */
export class Left extends Error {}

/** Ends a node: at once by its signal, or, after it was asked to leave, when its work has had its time. */
export class Departure {
  private readonly wish = new AbortController();

  constructor(private readonly signal: AbortSignal) {}

  get isWanted(): boolean {
    return this.wish.signal.aborted;
  }

  leave(): void {
    this.wish.abort();
  }

  /**
   * Returns the result of `f`, called with a signal. The signal is aborted with the node's, or this many milliseconds
   * after the node was asked to leave.
   *
   * @throws Left in the latter case.
   */
  async within<T>(patience: number, f: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const forget = [
      whenAborted(this.signal, () => controller.abort(this.signal.reason)),
      whenAborted(this.wish.signal, () => {
        const reason = new Left(`the server has not answered for ${patience / 1000} s.`);
        timer = setTimeout(() => controller.abort(reason), patience);
      }),
    ];
    try {
      return await f(controller.signal);
    } finally {
      clearTimeout(timer);
      forget.forEach(unsubscribe => unsubscribe());
    }
  }
}
