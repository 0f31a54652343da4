import {fork} from 'node:child_process';
import {existsSync, writeFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {createNodeKey, nodeKeyText} from 'tfjs-lora/federated';
import type {Order, Word} from './node';

/** What a client did in a run. */
export type Over = Omit<Extract<Word, {said: 'over'}>, 'said'>;

/** A running client. */
export interface Client {
  /** Rejected with what the client says if it fails. A client that was told to die has done nothing. */
  over: Promise<Over>;
  /** Ends it immediately. */
  kill(): void;
}

/** A client in a separate process. */
export function startProcess(
  order: Order,
  environment: NodeJS.ProcessEnv = {},
  onRound: (word: Extract<Word, {said: 'round'}>) => void = () => undefined,
): Client {
  const child = fork(fileURLToPath(new URL('node.ts', import.meta.url)), {
    execArgv: ['--import', 'tsx'],
    env: {...process.env, ...environment},
  });
  const over = new Promise<Over>((resolve, reject) => {
    let did: Over = {sent: 0, received: 0, rounds: 0};
    let failure = `Client ${order.client} ended.`;
    child.on('message', message => {
      const word = message as Word;
      if (word.said === 'round') {
        onRound(word);
      } else if (word.said === 'over') {
        did = word;
      } else {
        failure = word.message;
      }
    });
    child.on('exit', (code, signal) => {
      if (code === 0 || (order.dieIn !== undefined && signal === 'SIGKILL')) {
        resolve(did);
      } else {
        reject(new Error(failure));
      }
    });
  });
  child.send(order);
  return {over, kill: () => child.kill()};
}

/** The file of a node's key, which is created if it is missing. */
export async function keyFile(path: string): Promise<string> {
  if (!existsSync(path)) {
    writeFileSync(path, await nodeKeyText(await createNodeKey(), 'private'), {mode: 0o600});
  }
  return path;
}
