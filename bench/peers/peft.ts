import {spawn} from 'node:child_process';
import {existsSync} from 'node:fs';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import type {CaseName} from '../cases/index';
import type {Clock, Contender} from '../measure';
import {PYTHON} from './models';

const SCRIPT = fileURLToPath(new URL('steps.py', import.meta.url));

/** Cases that steps.py has too. */
const CASES: readonly CaseName[] = ['mlp', 'conv'];

/** PyTorch is measured with each of these numbers of threads. */
export const THREADS = [1, 2] as const;

/** What trains of a model, and what it holds, in numbers. */
export interface Counts {
  trainable: number;
  total: number;
}

/** The first line of steps.py. */
interface Hello {
  ready: Record<PeerRun, Counts>;
  versions: {torch: string; peft: string};
}

export type PeerRun = 'lora' | 'full';

/** PyTorch and PEFT, in a process that waits while nothing is asked of it. */
export interface Peft {
  /** Named `peft lora 1`, by the number of threads. */
  contenders: Contender[];
  versions: Hello['versions'];
  close(): void;
}

/** Whether the peers are installed. */
export function hasPeft(): boolean {
  return existsSync(PYTHON);
}

/**
 * Starts PyTorch and PEFT on a case, where they are installed and know it.
 *
 * @param expected what the models of the case count here: a peer that trains something else is no peer.
 */
export async function startPeft(name: CaseName, expected: Record<PeerRun, Counts>): Promise<Peft | undefined> {
  if (!hasPeft() || !CASES.includes(name)) {
    return undefined;
  }
  const child = spawn(PYTHON, [SCRIPT, name], {stdio: ['pipe', 'pipe', 'inherit']});
  const lines = createInterface({input: child.stdout})[Symbol.asyncIterator]();
  async function answer<T>(): Promise<T> {
    const {value, done} = await lines.next();
    if (done) {
      throw new Error(`${SCRIPT} ended early.`);
    }
    return JSON.parse(value) as T;
  }
  const {ready, versions} = await answer<Hello>();
  for (const run of ['lora', 'full'] as const) {
    const [theirs, ours] = [ready[run], expected[run]];
    if (theirs.trainable !== ours.trainable || theirs.total !== ours.total) {
      child.stdin.end();
      throw new Error(
        `The ${run} model of "${name}" trains ${theirs.trainable} of ${theirs.total} numbers in PyTorch and ` +
          `${ours.trainable} of ${ours.total} here.`,
      );
    }
  }
  const contenders = THREADS.flatMap(threads =>
    (['lora', 'full'] as const).map(run => ({
      name: `peft ${run} ${threads}`,
      sample: async (repeats: number, clock: Clock) => {
        child.stdin.write(`${JSON.stringify({run, threads, repeats, clock})}\n`);
        return (await answer<{ms: number}>()).ms;
      },
    })),
  );
  return {contenders, versions, close: () => child.stdin.end()};
}
