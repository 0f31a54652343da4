import {type ChildProcess, fork} from 'node:child_process';
import {join} from 'node:path';
import {memoryOf, timeOf} from '../processUse';
import type {Job, Outcome} from './job';

/**
 * What one file may take. The time is the worker's own, where the system tells it: other programs may keep it waiting.
 */
const SECONDS = 2;
const SECONDS_BY_THE_CLOCK = 90;
const MEGABYTES = 1500;
/** What a worker may take until it is ready, and for the first file of each kind, when it makes models. */
const SECONDS_TO_START = 120;

/** Tries one file after the other. */
export interface Attacker {
  carryOut(job: Job): Promise<Outcome>;
  stop(): void | Promise<void>;
}

/**
 * A process that attacks the library with one file after the other. It is killed and replaced when a file takes too
 * long or too much.
 */
export class Worker implements Attacker {
  private child: ChildProcess | undefined;
  private readonly warm = new Set<string>();

  /** @param root the folder of the package. */
  constructor(private readonly root: string) {}

  async carryOut(job: Job): Promise<Outcome> {
    const child = (this.child ??= await this.start());
    const outcome = await this.answer(child, () => child.send(job), this.warm.has(job.kind));
    this.warm.add(job.kind);
    if (outcome.result === 'fault') {
      this.stop(); // what it has left would be found again
    }
    return outcome;
  }

  stop(): void {
    this.child?.kill('SIGKILL');
    this.child = undefined;
    this.warm.clear();
  }

  private async start(): Promise<ChildProcess> {
    const child = fork(join(this.root, 'test/attack/worker.ts'), {
      cwd: this.root,
      execArgv: ['--import', 'tsx', `--max-old-space-size=${MEGABYTES}`],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const outcome = await this.answer(child, () => undefined, false);
    if (outcome.result === 'fault') {
      throw new Error(`A worker does not start: ${outcome.what}`);
    }
    return child;
  }

  /** The next message of a worker, or a fault if it ends before, or takes too much. */
  private answer(child: ChildProcess, ask: () => void, isWarm: boolean): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const start = Date.now();
      let startTime = Infinity; // until the file is made: what counts is the time of the library
      const settle = (outcome: Outcome) => {
        clearInterval(watch);
        child.off('message', onMessage);
        child.off('exit', onExit);
        resolve(outcome);
      };
      const onMessage = (message: unknown) => {
        if (message === 'made') {
          startTime = timeOf(child);
        } else {
          settle(message === 'ready' ? {result: 'loaded'} : (message as Outcome));
        }
      };
      const onExit = (code: number | null, signal: string | null) => {
        const what = `The process ended with ${code ?? signal}.`;
        if (!isWarm) {
          reject(new Error(`${what} Not even whole files could be used.`));
        }
        settle({result: 'fault', what});
      };
      child.on('message', onMessage);
      child.on('exit', onExit);
      const watch = setInterval(() => {
        const clock = (Date.now() - start) / 1000;
        const own = Math.max(0, timeOf(child) - startTime);
        if (clock > (isWarm ? SECONDS_BY_THE_CLOCK : SECONDS_TO_START) || (isWarm && own > SECONDS)) {
          settle({result: 'fault', what: `It took more than ${own.toFixed(1)} s, ${clock.toFixed(1)} s by the clock.`});
        } else if (memoryOf(child) > MEGABYTES) {
          settle({result: 'fault', what: `It took ${memoryOf(child).toFixed(0)} MB.`});
        }
      }, 50);
      ask();
    });
  }
}
