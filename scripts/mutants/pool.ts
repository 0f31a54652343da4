import {type ChildProcess, fork} from 'node:child_process';
import {join} from 'node:path';
import {memoryOf, timeOf} from '../../test/processUse';
import type {Failure, Job, Message, TestRun, Verdict} from './job';

/** A worker is replaced when it holds more: contexts of former tests stay in memory. */
const MEGABYTES = 1500;
/** What a worker may take at once: a mutant may ask for memory without end. */
const MAX_MEGABYTES = 4000;
/** By the clock. A test that waits without end fails by Jest's own limit. */
const MINUTES_OF_A_FILE = 15;

/** How a job ended. `gone` is a process that ended by itself or was stopped for what it took. */
export type Outcome =
  | {result: 'passed'}
  | {result: 'failed'; failure: Failure}
  | {result: 'gone'; path: string; mutant: number; why: string};

/** Why a job did not pass. */
export function reasonOf(outcome: Outcome): string {
  return outcome.result === 'passed'
    ? 'It passed.'
    : outcome.result === 'gone'
      ? outcome.why
      : `${outcome.failure.name}: ${outcome.failure.message}`;
}

/** What running a test file gave. */
export interface FileRun {
  path: string;
  seconds: number;
  runs: TestRun[];
}

/** A process that runs tests, replaced when it does not answer. */
export class Worker {
  private child: ChildProcess | undefined;

  /**
   * @param root the folder of the package.
   * @param secondsOf what a test file took without a mutant, in processor time.
   */
  constructor(
    private readonly root: string,
    private readonly secondsOf: (path: string) => number,
  ) {}

  async carryOut(
    job: Job,
    onFileEnd: (run: FileRun) => void = () => undefined,
    onVerdict: (verdict: Verdict) => void = () => undefined,
  ): Promise<Outcome> {
    const child = (this.child ??= await this.start());
    const outcome = await new Promise<Outcome>(resolve => {
      let path = '';
      let mutant = -1;
      let [begin, own] = [Date.now(), timeOf(child)];
      const settle = (result: Outcome) => {
        clearInterval(watch);
        child.off('message', onMessage);
        child.off('exit', onExit);
        if (result.result === 'gone') {
          this.stop();
        }
        resolve(result);
      };
      const onMessage = (message: Message) => {
        if (message.type === 'file') {
          path = this.relative(message.path);
          [begin, own] = [Date.now(), timeOf(child)];
        } else if (message.type === 'mutant') {
          mutant = message.id;
          [begin, own] = [Date.now(), timeOf(child)];
        } else if (message.type === 'verdict') {
          onVerdict(message.verdict);
        } else if (message.type === 'fileEnd') {
          onFileEnd({path: this.relative(message.path), seconds: message.seconds, runs: message.runs});
        } else if (message.type === 'end') {
          const {failure, megabytes} = message;
          if (megabytes > MEGABYTES) {
            this.stop();
          }
          settle(
            failure === undefined
              ? {result: 'passed'}
              : {result: 'failed', failure: {...failure, path: this.relative(failure.path)}},
          );
        }
      };
      const onExit = (code: number | null, signal: string | null) => {
        settle({result: 'gone', path, mutant, why: `The process ended with ${code ?? signal}.`});
      };
      const watch = setInterval(() => {
        const seconds = timeOf(child) - own;
        // A mutant of many runs some of the tests, in a process that has loaded the file.
        const most = job.mutants === undefined ? 10 + 10 * this.secondsOf(path) : 5 + 3 * this.secondsOf(path);
        if (seconds > most) {
          settle({result: 'gone', path, mutant, why: `It took more than ${seconds.toFixed(0)} s.`});
        } else if (Date.now() - begin > MINUTES_OF_A_FILE * 60_000) {
          settle({result: 'gone', path, mutant, why: `It took more than ${MINUTES_OF_A_FILE} minutes.`});
        } else if (memoryOf(child) > MAX_MEGABYTES) {
          settle({result: 'gone', path, mutant, why: `It took more than ${MAX_MEGABYTES} MB.`});
        }
      }, 200);
      child.on('message', onMessage);
      child.on('exit', onExit);
      child.send(job);
    });
    return outcome;
  }

  stop(): void {
    this.child?.kill('SIGKILL');
    this.child = undefined;
  }

  private relative(path: string): string {
    return path.slice(this.root.length + 1);
  }

  private start(): Promise<ChildProcess> {
    const child = fork(join(this.root, 'scripts/mutants/worker.ts'), {
      cwd: this.root,
      execArgv: ['--import', 'tsx', `--max-old-space-size=${MAX_MEGABYTES}`],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    return new Promise((resolve, reject) => {
      child.once('message', () => resolve(child));
      child.once('exit', () => reject(new Error('A worker does not start.')));
    });
  }
}
