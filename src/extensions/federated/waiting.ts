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

/** Calls `f` once a signal is aborted, which it may be already. @returns what takes that back. */
export function whenAborted(signal: AbortSignal, f: () => void): () => void {
  if (signal.aborted) {
    f();
  }
  signal.addEventListener('abort', f);
  return () => signal.removeEventListener('abort', f);
}

/** A node was asked to leave, and has waited long enough. */
export class Left extends Error {}

/** The end of a node: at once, by its signal, or when it was asked to leave and what it does has had its time. */
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
   * What `f` gives, with a signal that is aborted with the node's, and so many milliseconds after the node was asked to
   * leave.
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
      forget.forEach(each => each());
    }
  }
}
