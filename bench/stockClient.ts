import {type ChildProcess, fork} from 'node:child_process';
import {once} from 'node:events';
import {fileURLToPath} from 'node:url';
import type {Backend} from './backend';
import type {CaseName} from './cases/index';
import type {Clock, Contender} from './measure';

/** What the process with stock tfjs is asked to do. */
export interface Order {
  run: string;
  repeats: number;
  clock: Clock;
}

/** What it answers: first what it can run, then milliseconds for each run of an order, or why there are none. */
export type Answer = {ready: string[]} | {ms: number} | {error: string};

/** A process with stock tfjs. */
export interface Stock {
  /** Named `stock …`. One process waits while the other one works. */
  contenders: Contender[];
  close(): void;
}

/** Starts a process that has a case ready in tfjs as it was installed. */
export async function startStock(backend: Backend, name: CaseName): Promise<Stock> {
  const child = fork(fileURLToPath(new URL('./stock.ts', import.meta.url)), [backend, name]);
  const hello = await answerOf<Answer>(child);
  const runs = 'ready' in hello ? hello.ready : [];
  const contenders = runs.map(run => ({
    name: `stock ${run}`,
    sample: async (repeats: number, clock: Clock) => {
      const order: Order = {run, repeats, clock};
      child.send(order);
      const answer = await answerOf<Answer>(child);
      if (!('ms' in answer)) {
        throw new Error('error' in answer ? answer.error : 'The stock process lost count.');
      }
      return answer.ms;
    },
  }));
  return {contenders, close: () => child.disconnect()};
}

/** The next message of a process. */
export async function answerOf<Message>(child: ChildProcess): Promise<Message> {
  const stop = new AbortController();
  const {signal} = stop;
  try {
    const exit = once(child, 'exit', {signal}).then(([code]) => {
      throw new Error(`The measured process ended with code ${String(code)}.`);
    });
    const [answer] = (await Promise.race([once(child, 'message', {signal}), exit])) as [Message];
    return answer;
  } finally {
    stop.abort();
  }
}
