// Calls of an object that lives in a worker, where even a long step does not hold up the page. What goes over is
// copied.
import {connect, serve} from 'tfjs-lora/worker';

/** The names of an object's functions that return promises. */
type Methods<E> = {[M in keyof E]: E[M] extends (...args: never[]) => Promise<unknown> ? M : never}[keyof E];

/** What a worker serves. */
interface Calls<News> {
  /** News go the way of the result, so that none comes after it. */
  call(method: string, args: readonly unknown[], onNews: (news: News) => void): Promise<unknown>;
  [name: string]: (...args: never[]) => unknown;
}

/** The functions of an engine in its worker. */
export function remote<Engine extends object, News>(
  worker: Worker,
  onNews: (news: News) => void,
): Pick<Engine, Methods<Engine>> {
  const calls = connect<Calls<News>>(worker);
  return new Proxy({} as Pick<Engine, Methods<Engine>>, {
    get:
      (_, method: string) =>
      (...args: unknown[]) =>
        calls.call(method, args, onNews),
  });
}

/** Inside the worker: answers calls by the engine that `make` makes, and sends its news. */
export function answerCalls<Engine extends object, News>(make: (tell: (news: News) => void) => Engine): void {
  /** Of the calls that go on, the first of which has the news: a later one may only stop it. */
  const listeners = new Set<(news: News) => void>();
  const tell = (news: News) => [...listeners][0]?.(news);
  const engine = make(tell) as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  const calls: Calls<News> = {
    call: async (method, args, onNews) => {
      listeners.add(onNews);
      try {
        return await engine[method]!(...args);
      } finally {
        listeners.delete(onNews);
      }
    },
  };
  serve(calls);
}
