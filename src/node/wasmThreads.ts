import {EventEmitter} from 'node:events';
import {createRequire} from 'node:module';
import {availableParallelism} from 'node:os';
import {join} from 'node:path';
import process, {cwd} from 'node:process';
import {setTimeout as sleep} from 'node:timers/promises';
import workerThreads from 'node:worker_threads';
import * as tf from '@tensorflow/tfjs';
import type {WasmBackend} from '../backends/shared/kernel';
import type {WasmOptions, WasmStart} from '../backends/startWasm';
import {nativeOf} from '../backends/wasm/module/find';
import {useThreads} from '../backends/wasm/module/native';
import {HELPER, MAX_THREADS, type ThreadSource} from '../backends/wasm/module/threads';
import {busyError, checkCount, checkNumber, checkOptions, messageOf, unsupportedError} from '../platform/errors';

const PACKAGE = '@tensorflow/tfjs-backend-wasm';
const MULTITHREADED = 'WASM_HAS_MULTITHREAD_SUPPORT';
/** How long to wait for threads that have been started. */
const PATIENCE_MS = 10_000;
/** Node's workers receive messages from `parentPort` only. */
const RECEIVE = "require('node:worker_threads').parentPort.on('message', data => globalThis.onmessage({data}));";

/** The backend of tfjs, with the private fields that are used here. */
type Backend = WasmBackend & {
  readonly wasm?: {readonly HEAPU8?: Uint8Array} | null;
  numDataIds(): number;
};

/** How many threads the backends started here have. */
const started = new WeakMap<object, number>();

/** Starts the wasm backend with threads in Node: `startWasm` there. */
export async function startThreadedWasm(options: WasmOptions = {}): Promise<WasmStart> {
  checkOptions(options, {threads: true});
  const {threads = Math.min(availableParallelism(), MAX_THREADS)} = options;
  checkCount('threads', threads);
  checkNumber('threads', threads, threads <= MAX_THREADS, `at most ${MAX_THREADS}`);
  const setThreadsCount = await threadsSetter();
  const running = tf.findBackend('wasm') as unknown as Backend | null;
  if (running !== null) {
    if ((started.get(running) ?? 1) === threads) {
      await makeCurrent();
      return {threads};
    }
    if (running.numDataIds() > 0) {
      throw busyError(
        `The wasm backend is in use with ${started.get(running) ?? 1} thread(s): it holds ${running.numDataIds()} ` +
          'tensors. Call startWasm() before anything is computed, or dispose of them first.',
      );
    }
    restartable();
  }
  if (threads === 1) {
    await makeCurrent();
    return {threads};
  }
  let failure: string | undefined;
  try {
    await withSharedMemory(setThreadsCount, makeCurrent);
  } catch (error) {
    failure = `The threaded build of ${PACKAGE} did not start: ${messageOf(error)}`;
    restartable();
    await makeCurrent();
  }
  const backend = tf.backend() as unknown as Backend;
  if (failure !== undefined || !(backend.wasm?.HEAPU8?.buffer instanceof SharedArrayBuffer)) {
    return {threads: 1, reason: failure ?? `This version of ${PACKAGE} has no shared memory.`};
  }
  useThreads(backend, nodeWorkers(threads));
  const native = nativeOf(backend);
  for (const end = Date.now() + PATIENCE_MS; native?.threadCount === 1 && Date.now() < end;) {
    await sleep(2);
  }
  if ((native?.threadCount ?? 1) > 1) {
    started.set(backend, threads);
    return {threads};
  }
  const reason = native === undefined ? "The library's kernels are not in use" : 'The threads did not start';
  return {threads: 1, reason: `${reason}.`};
}

type SetThreadsCount = (count: number) => void;

/** Imports the package, which registers the backend. */
async function threadsSetter(): Promise<SetThreadsCount> {
  try {
    return (await import('@tensorflow/tfjs-backend-wasm')).setThreadsCount;
  } catch (cause) {
    try {
      // Jest has no import() for a package in CommonJS, such as this library's build for require().
      const required = createRequire(join(cwd(), 'package.json'))(PACKAGE) as {setThreadsCount: SetThreadsCount};
      return required.setThreadsCount;
    } catch {
      throw unsupportedError(
        `startWasm needs ${PACKAGE}, which cannot be imported (${messageOf(cause)}). Install it: npm install ${PACKAGE}`,
        {cause},
      );
    }
  }
}

async function makeCurrent(): Promise<void> {
  const before = uncaughtListeners();
  const isStarted = await tf.setBackend('wasm');
  for (const [event, listener] of uncaughtListeners()) {
    // tfjs throws the error anew: Node then prints the line of minified code that does, and exits with 7 instead of 1.
    if (!before.some(([, other]) => other === listener) && /throw \w+[;}\s]*$/.test(String(listener))) {
      process.removeListener(event, listener);
    }
  }
  if (!isStarted) {
    throw unsupportedError('The wasm backend of TensorFlow.js did not start. The console shows why.');
  }
}

/** What listens to uncaught errors and rejections. */
function uncaughtListeners(): [event: string, listener: (...args: unknown[]) => void][] {
  return ['uncaughtException', 'unhandledRejection'].flatMap(event =>
    (process.rawListeners(event) as ((...args: unknown[]) => void)[]).map(
      listener => [event, listener] as [string, (...args: unknown[]) => void],
    ),
  );
}

/** Removes the backend, if there is one, so that it can be started again. */
function restartable(): void {
  const factory = tf.findBackendFactory('wasm');
  const before = uncaughtListeners();
  tf.removeBackend('wasm');
  const after = uncaughtListeners().map(([, listener]) => listener);
  // tfjs removes those of the program too.
  before.filter(([, listener]) => !after.includes(listener)).forEach(subscription => process.on(...subscription));
  tf.registerBackend('wasm', factory, 2); // the priority that tfjs gives it
}

/**
 * Starts tfjs's threaded build, which has shared memory, with one tfjs thread. tfjs checks the flag, which is false in
 * Node. The build always starts some workers and waits until they have loaded: they are replaced by objects that only
 * report that. All this is put back.
 */
async function withSharedMemory(setThreadsCount: SetThreadsCount, start: () => Promise<void>): Promise<void> {
  const flag = await tf.env().getAsync(MULTITHREADED);
  const global = Object.getOwnPropertyDescriptor(globalThis, 'Worker');
  const {Worker: NodeWorker} = workerThreads;
  try {
    tf.env().set(MULTITHREADED, true);
    setThreadsCount(1);
    workerThreads.Worker = new Proxy(NodeWorker, {
      construct: (target, args: ConstructorParameters<typeof NodeWorker>) =>
        String(args[0]).startsWith('blob:') ? new IdleWorker() : new target(...args),
    });
    await start();
  } finally {
    workerThreads.Worker = NodeWorker;
    // The build makes Node's class a global.
    Reflect.deleteProperty(globalThis, 'Worker');
    if (global !== undefined) {
      Object.defineProperty(globalThis, 'Worker', global);
    }
    setThreadsCount(-1); // as many as tfjs chooses, its default
    tf.env().set(MULTITHREADED, flag);
  }
}

/** Replaces a worker of tfjs: reports that it has loaded, and does nothing. */
class IdleWorker extends EventEmitter {
  postMessage({cmd}: {cmd?: unknown}): void {
    if (cmd === 'load') {
      setImmediate(() => this.emit('message', {cmd: 'loaded'}));
    }
  }

  ref(): void {
    // no thread keeps the process alive
  }

  unref(): void {
    // as above
  }

  terminate(): void {
    // nothing to end
  }
}

function nodeWorkers(count: number): ThreadSource {
  return {
    count,
    start: () => {
      // Without options of the process, such as --import.
      const worker = new workerThreads.Worker(`${HELPER}\n${RECEIVE}`, {eval: true, execArgv: []});
      worker.on('error', () => undefined); // it is then never ready, and one thread computes
      worker.unref();
      return worker;
    },
  };
}
