import {type ChildProcess, fork} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {isDamage, type Outcome} from './outcome';

/** Stock tfjs may run forever. On a busy machine, it takes many seconds to start. */
const SECONDS = 60;

/** What stock tfjs computes. */
export interface StockOutcomes {
  cpu: Outcome;
  /** None where the backend damaged its memory, or came to no end. */
  wasm?: Outcome;
}

/** A process with tfjs alone. It is replaced if the backend damages its memory. */
export class StockProcess {
  private child: ChildProcess | undefined;

  async outcomesOf(seed: number): Promise<StockOutcomes> {
    const child = (this.child ??= start());
    const [cpu, wasm] = await answers(child, seed);
    if (cpu === undefined) {
      this.child = undefined;
      throw new Error(`Stock tfjs computes nothing for seed ${seed}.`);
    }
    if (wasm === undefined || isDamage(wasm.results) || isDamage(wasm.gradients)) {
      child.kill('SIGKILL');
      this.child = undefined;
      return {cpu};
    }
    return {cpu, wasm};
  }
}

function start(): ChildProcess {
  const child = fork(fileURLToPath(new URL('stock.ts', import.meta.url)), {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    serialization: 'advanced',
  });
  release(child);
  return child;
}

/** The two outcomes for a seed, or those that came before the process ended. */
function answers(child: ChildProcess, seed: number): Promise<Outcome[]> {
  return new Promise(resolve => {
    const outcomes: Outcome[] = [];
    const settle = () => {
      clearTimeout(patience);
      child.off('message', onMessage);
      child.off('exit', settle);
      release(child);
      resolve(outcomes);
    };
    const onMessage = (outcome: unknown) => {
      if (outcomes.push(outcome as Outcome) === 2) {
        settle();
      }
    };
    const patience = setTimeout(() => child.kill('SIGKILL'), 1000 * SECONDS);
    child.ref();
    child.channel?.ref();
    child.on('message', onMessage);
    child.on('exit', settle);
    child.send(seed);
  });
}

/** Lets this process end while the other one waits. */
function release(child: ChildProcess): void {
  child.unref();
  child.channel?.unref();
}
