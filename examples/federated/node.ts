/** A client in a process of its own. It is told what to do by messages of `clients.ts`. */
import {readFile} from 'node:fs/promises';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {fileHandler, loadAdapter, resetOptimizer, setAdapter} from 'tfjs-lora';
import {createNodeKey, joinFederation, type RoundReport} from 'tfjs-lora/federated';
import {accuracy} from '../shared/network';
import {digitsOf, heldOut} from './data';
import {adapt, learn, type Method} from './task';

/** What a client is asked to do. */
export interface Order {
  url: string;
  method: Method;
  seed: number;
  /** Paths of the base, of the adapter that all start from, and of this node's key. */
  base: string;
  adapter: string;
  key: string;
  client: number;
  /** The round in which the process kills itself, to show that it may. */
  dieIn?: number;
}

/** What a client says. */
export type Word =
  | {said: 'round'; report: RoundReport}
  | {said: 'over'; sent: number; received: number; rounds: number}
  | {said: 'failed'; message: string};

async function follow(order: Order): Promise<void> {
  const {url, method, seed, client, dieIn} = order;
  await tf.setBackend('wasm');
  const base = await tf.loadLayersModel(fileHandler(order.base));
  const model = adapt(base, method, seed);
  setAdapter(model, await loadAdapter(fileHandler(order.adapter)));
  const digits = digitsOf(client, seed);
  const tests = heldOut();
  const {finished} = joinFederation({
    url,
    model,
    key: await createNodeKey(await readFile(order.key, 'utf8')),
    heartbeatSeconds: 10,
    train: async (trained, {round, config}) => {
      if (round === dieIn) {
        process.kill(process.pid, 'SIGKILL');
      }
      resetOptimizer(trained); // the others' steps are in the adapter, but not in this optimizer's memory
      const loss = await learn(trained, method, digits, {round, rounds: Number(config.rounds)});
      return {examples: digits.images.shape[0], metrics: {loss}};
    },
    evaluate: trained => ({examples: tests.images.shape[0], metrics: {accuracy: accuracy(trained, tests)}}),
    onRound: report => process.send!({said: 'round', report} satisfies Word),
  });
  const {bytesSent: sent, bytesReceived: received, rounds} = await finished;
  process.send!({said: 'over', sent, received, rounds} satisfies Word);
}

process.on('message', order => {
  follow(order as Order).then(
    () => process.exit(0),
    (error: unknown) => {
      process.send!({said: 'failed', message: (error as Error).message} satisfies Word, () => process.exit(1));
    },
  );
});
