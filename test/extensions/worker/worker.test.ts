import {MessageChannel as Channel, type MessagePort as Port} from 'node:worker_threads';
import * as tf from '@tensorflow/tfjs';
import {LoRAError} from 'tfjs-lora';
import {type AnyWorker, type Calls, connect, type ConnectOptions, serve, transfer} from 'tfjs-lora/worker';

// Both ends in one thread; `test/package` has real workers.

const ends: Port[] = [];
afterEach(() => {
  ends.splice(0).forEach(end => end.close());
});

let aborted: unknown;
let isOver = false;
const functions = {
  add: (a: number, b: number) => Promise.resolve(a + b),
  sum: ({values}: {values: Float32Array}) => values.reduce((sum, value) => sum + value, 0),
  async count({to, onProgress, signal}: {to: number; onProgress: (done: number) => void; signal?: AbortSignal}) {
    for (let i = 1; i <= to; i++) {
      onProgress(i);
      await new Promise(resolve => setTimeout(resolve));
      aborted = signal?.reason as unknown;
      signal?.throwIfAborted();
    }
    return 'done';
  },
  async *words(text: string) {
    try {
      for (const word of text.split(' ')) {
        await Promise.resolve();
        if (word === 'bad') {
          throw new LoRAError('a bad word', {code: 'ERR_DAMAGED', faults: ['bad']});
        }
        yield {word};
      }
    } finally {
      isOver = true;
    }
  },
  bytes: () => transfer({parts: [new Uint8Array([1, 2, 3])]}),
  lastSize: () => 0,
  fail: (): number => {
    throw Object.assign(new RangeError('too far'), {code: 'ERR_FAR'});
  },
  tensor: () => tf.scalar(1),
  closure: () => () => 1,
};

function connected(options?: ConnectOptions) {
  const {port1, port2} = new Channel();
  ends.push(port1, port2);
  serve(functions, port1 as unknown as Calls);
  return connect<typeof functions>(Object.assign(port2, {terminate: () => port2.close()}) as AnyWorker, options);
}

test('calls return what the functions return', async () => {
  const worker = connected();
  expect(await Promise.all([worker.add(1, 2), worker.add(3, 4)])).toEqual([3, 7]);
  expect(await worker.sum({values: Float32Array.of(1, 2.5)})).toBe(3.5);
  await expect((worker as unknown as {no: () => Promise<void>}).no()).rejects.toThrow(
    'The worker serves no function "no". It serves: add, sum, count, ',
  );
});

test('functions among arguments call those of the caller, in order, before the call is over', async () => {
  const seen: number[] = [];
  expect(await connected().count({to: 3, onProgress: done => seen.push(done)})).toBe('done');
  expect(seen).toEqual([1, 2, 3]);
  const onProgress = () => {
    throw new Error('no more');
  };
  await expect(connected().count({to: 3, onProgress})).rejects.toThrow('no more');
});

test('a signal among arguments is aborted with that of the caller, also before the call', async () => {
  const controller = new AbortController();
  const onProgress = (done: number) => {
    if (done === 2) {
      controller.abort('enough');
    }
  };
  const call = connected().count({to: 1000, onProgress, signal: controller.signal});
  await expect(call).rejects.toBe('enough');
  expect(aborted).toBe('enough');
  const early = connected().count({to: 5, onProgress: () => undefined, signal: AbortSignal.abort()});
  await expect(early).rejects.toMatchObject({name: 'AbortError'});
});

test('async iterables are read one value at a time, and end with a break', async () => {
  const worker = connected();
  const read: string[] = [];
  for await (const {word} of worker.words('a b c')) {
    read.push(word);
  }
  expect(read).toEqual(['a', 'b', 'c']);
  isOver = false;
  for await (const {word} of worker.words('a b c')) {
    expect(word).toBe('a');
    break;
  }
  await worker.add(0, 0);
  expect(isOver).toBe(true);
  const broken = async () => {
    for await (const {word} of worker.words('a bad c')) {
      read.push(word);
    }
  };
  await expect(broken()).rejects.toMatchObject({code: 'ERR_DAMAGED', message: 'a bad word', faults: ['bad']});
});

test('errors keep their class or name, code, faults and stack', async () => {
  const worker = connected();
  const error: unknown = await worker.fail().catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({name: 'RangeError', message: 'too far', code: 'ERR_FAR'});
  expect((error as Error).stack).toContain('worker.test');
  const iterator = worker.words('bad')[Symbol.asyncIterator]();
  const damaged: unknown = await iterator.next().catch((thrown: unknown) => thrown);
  expect(damaged).toBeInstanceOf(LoRAError);
});

test('buffers are moved with transfer, and copied without', async () => {
  const worker = connected();
  const [values, moved] = [Float32Array.of(1), Float32Array.of(2)];
  expect(await worker.sum({values})).toBe(1);
  expect(values.length).toBe(1);
  expect(await worker.sum(transfer({values: moved}))).toBe(2);
  expect(moved.length).toBe(0);
  expect(await worker.bytes()).toEqual({parts: [new Uint8Array([1, 2, 3])]});
});

test('tensors and functions are refused, with the way out', async () => {
  const worker = connected();
  await expect(worker.tensor()).rejects.toThrow('A tensor belongs to one thread. Send its values');
  await expect(worker.closure()).rejects.toThrow('A function or a signal cannot be sent to the page.');
  await expect(worker.sum({values: tf.scalar(1) as never})).rejects.toThrow('A tensor belongs to one thread.');
});

test('the signal of a connection ends the worker and its calls', async () => {
  const controller = new AbortController();
  const worker = connected({signal: controller.signal});
  const call = worker.count({
    to: 50,
    onProgress: done => {
      if (done === 3) {
        controller.abort();
      }
    },
  });
  await expect(call).rejects.toMatchObject({code: 'ERR_ABORTED'});
  await expect(worker.add(1, 2)).rejects.toMatchObject({code: 'ERR_ABORTED'});
  expect(() => connected({signal: AbortSignal.abort()})).toThrow('The call was aborted');
  expect(() => connected({signal: 1 as never})).toThrow('signal must be an AbortSignal');
});

test('a worker that fails rejects all calls', async () => {
  let fail: (error: Error) => void = () => undefined;
  const broken: AnyWorker = {
    postMessage: () => undefined,
    terminate: () => undefined,
    on: (_, listener) => (fail = listener),
  };
  const {add} = connect<typeof functions>(broken);
  const call = add(1, 2);
  fail(new Error('no such file'));
  await expect(call).rejects.toMatchObject({code: 'ERR_IO', message: 'The worker failed: no such file'});
  await expect(add(1, 2)).rejects.toThrow('no such file');
});
