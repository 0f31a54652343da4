/** The worker's door: calls come in, results, errors and news of a training go out. */
import type {Message, Progress, Request} from '../protocol';
import {DigitEngine} from './engine';

const engine = new DigitEngine((progress: Progress) => send({progress}));

self.addEventListener('message', (event: MessageEvent<Request>) => {
  const {id, method, args} = event.data;
  const call = engine[method].bind(engine) as (...values: unknown[]) => Promise<unknown>;
  call(...args).then(
    result => send({id, result}),
    (error: unknown) => send({id, error: error instanceof Error ? error.message : String(error)}),
  );
});

function send(message: Message): void {
  self.postMessage(message);
}
