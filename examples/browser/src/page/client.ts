import type {Engine, Message, Progress, Request} from '../protocol';

interface Waiting {
  resolve: (result: unknown) => void;
  reject: (error: Error) => void;
}

/** Calls the engine in its worker, where even a long step does not hold up the page. */
export class Client {
  private readonly worker = new Worker(new URL('../worker/index.ts', import.meta.url), {type: 'module'});
  private readonly waiting = new Map<number, Waiting>();
  private calls = 0;

  constructor(onProgress: (progress: Progress) => void) {
    this.worker.addEventListener('message', ({data}: MessageEvent<Message>) => {
      if ('progress' in data) {
        onProgress(data.progress);
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
    this.worker.addEventListener('error', ({message}) => {
      const error = new Error(`The worker failed: ${message}`);
      this.waiting.forEach(({reject}) => reject(error));
      this.waiting.clear();
    });
  }

  call<M extends keyof Engine>(method: M, ...args: Parameters<Engine[M]>): ReturnType<Engine[M]> {
    const request: Request = {id: ++this.calls, method, args};
    const answer = new Promise<unknown>((resolve, reject) => {
      this.waiting.set(request.id, {resolve, reject});
      this.worker.postMessage(request);
    });
    return answer as ReturnType<Engine[M]>;
  }
}
