import {join} from 'node:path';
import {Worker} from 'node:worker_threads';
import {connect, transfer} from 'tfjs-lora/worker';

// Threads of Node that run the built package. `test/package/workers.browser.test.ts` has workers of a page.

const PROGRAM = `
  const {parentPort} = require('node:worker_threads');
  const {serve, transfer} = require(${JSON.stringify(join(process.cwd(), 'dist/worker.cjs'))});
  const {LoRAError} = require(${JSON.stringify(join(process.cwd(), 'dist/index.cjs'))});
  serve({
    scaled: (values, factor) => transfer(values.map(value => factor * value)),
    async *numbers({to, signal}) {
      for (let i = 1; i <= to; i++) {
        signal.throwIfAborted();
        yield i;
      }
    },
    fail() {
      throw new LoRAError('too large', {code: 'ERR_TOO_LARGE', faults: ['a', 'b']});
    },
    forever() {
      for (;;);
    },
  }, parentPort);
`;

interface Functions {
  scaled(values: Float32Array, factor: number): Float32Array;
  numbers(options: {to: number; signal: AbortSignal}): AsyncIterable<number>;
  fail(): Promise<void>;
  forever(): Promise<void>;
  [name: string]: (...args: never[]) => unknown;
}

test('a thread of Node serves calls, and ends with the signal of its connection', async () => {
  const [ending, stopping] = [new AbortController(), new AbortController()];
  const thread = new Worker(PROGRAM, {eval: true});
  const {scaled, numbers, fail, forever} = connect<Functions>(thread, {signal: ending.signal});
  const values = Float32Array.of(1, 2);
  expect(Array.from(await scaled(transfer(values), 3))).toEqual([3, 6]);
  expect(values.length).toBe(0);
  await expect(fail()).rejects.toMatchObject({name: 'LoRAError', code: 'ERR_TOO_LARGE', faults: ['a', 'b']});
  const read: number[] = [];
  const reading = (async () => {
    for await (const value of numbers({to: 1000, signal: stopping.signal})) {
      read.push(value);
      if (value === 3) {
        stopping.abort();
      }
    }
  })();
  await expect(reading).rejects.toMatchObject({name: 'AbortError'});
  expect(read).toEqual([1, 2, 3]);
  const ended = new Promise(resolve => thread.once('exit', resolve));
  const call = forever();
  ending.abort();
  await expect(call).rejects.toMatchObject({code: 'ERR_ABORTED'});
  await ended;
});

test('a thread whose script fails rejects its calls', async () => {
  const {fail} = connect<Functions>(new Worker('throw new Error("no such file")', {eval: true}));
  await expect(fail()).rejects.toMatchObject({code: 'ERR_IO', message: 'The worker failed: no such file'});
});
