// Calls of an object that lives in a worker, where even a long step does not hold up the page. What goes over is
// copied.

/** The names of an object's functions that return promises. */
type Methods<E> = {[M in keyof E]: E[M] extends (...args: never[]) => Promise<unknown> ? M : never}[keyof E];
type Arguments<E, M extends keyof E> = E[M] extends (...args: infer A) => unknown ? A : never;
type Answer<E, M extends keyof E> = E[M] extends (...args: never[]) => infer R ? R : never;

/** A call, as it is sent to the worker. */
interface Request {
  id: number;
  method: string;
  args: unknown[];
}

/** What the worker sends: results, errors, and news of what it is doing. */
type Message<News> = {id: number; result: unknown} | {id: number; error: string} | {news: News};

interface Waiting {
  resolve: (result: unknown) => void;
  reject: (error: Error) => void;
}

/** Calls an engine in its worker. */
export class Remote<Engine extends object, News> {
  private readonly waiting = new Map<number, Waiting>();
  private calls = 0;

  constructor(
    private readonly worker: Worker,
    onNews: (news: News) => void,
  ) {
    worker.addEventListener('message', ({data}: MessageEvent<Message<News>>) => {
      if ('news' in data) {
        onNews(data.news);
        return;
      }
      const call = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if ('error' in data) {
        call?.reject(new Error(data.error));
      } else {
        call?.resolve(data.result);
      }
    });
    worker.addEventListener('error', ({message}) => {
      const error = new Error(`The worker failed: ${message}`);
      this.waiting.forEach(({reject}) => reject(error));
      this.waiting.clear();
    });
  }

  call<M extends Methods<Engine> & string>(method: M, ...args: Arguments<Engine, M>): Answer<Engine, M> {
    const request: Request = {id: ++this.calls, method, args};
    const answer = new Promise<unknown>((resolve, reject) => {
      this.waiting.set(request.id, {resolve, reject});
      this.worker.postMessage(request);
    });
    return answer as Answer<Engine, M>;
  }
}

/** Inside the worker: answers calls by the engine that `make` makes, and sends its news. */
export function answerCalls<Engine extends object, News>(make: (tell: (news: News) => void) => Engine): void {
  const send = (message: Message<News>) => self.postMessage(message);
  const engine = make(news => send({news})) as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  self.addEventListener('message', ({data: {id, method, args}}: MessageEvent<Request>) => {
    engine[method]!(...args).then(
      result => send({id, result}),
      (error: unknown) => send({id, error: error instanceof Error ? error.message : String(error)}),
    );
  });
}
