// Calls of an object that lives in a worker, where even a long step does not hold up the page. What goes over is
// copied.
import {connect, serve} from 'tfjs-lora/worker';

/** The names of an object's functions that return promises. */
type Methods<E> = {[M in keyof E]: E[M] extends (...args: never[]) => Promise<unknown> ? M : never}[keyof E];
type Arguments<E, M extends keyof E> = E[M] extends (...args: infer A) => unknown ? A : never;
type Answer<E, M extends keyof E> = E[M] extends (...args: never[]) => infer R ? R : never;

/** What a worker serves. */
interface Calls<News> {
  call(method: string, args: readonly unknown[]): Promise<unknown>;
  /** Never returns: news come as long as there is a page. */
  listen(onNews: (news: News) => void): Promise<void>;
  [name: string]: (...args: never[]) => unknown;
}

/** Calls an engine in its worker. */
export class Remote<Engine extends object, News> {
  private readonly worker;

  constructor(worker: Worker, onNews: (news: News) => void) {
    this.worker = connect<Calls<News>>(worker);
    this.worker.listen(onNews).catch(() => undefined); // calls that fail say why
  }

  call<M extends Methods<Engine> & string>(method: M, ...args: Arguments<Engine, M>): Answer<Engine, M> {
    return this.worker.call(method, args) as Answer<Engine, M>;
  }
}

/** Inside the worker: answers calls by the engine that `make` makes, and sends its news. */
export function answerCalls<Engine extends object, News>(make: (tell: (news: News) => void) => Engine): void {
  let tell: (news: News) => void = () => undefined;
  const engine = make(news => tell(news)) as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  const calls: Calls<News> = {
    call: (method, args) => engine[method]!(...args),
    listen: onNews => {
      tell = onNews;
      return new Promise(() => undefined);
    },
  };
  serve(calls);
}
