import * as tf from '@tensorflow/tfjs';
import {ioError, isPromise, messageOf, notReadyError} from '../../platform/errors';
import {isRecording} from '../../platform/tfjs/engine';
import {pendingKernels} from './capabilities';
import {onBackend} from './lifecycle';
import type {OwnKernel} from './registration';

// Code for a backend that is loaded when the backend is set, so that a page that never sets it does not load the code.
// The factory of wasm in tfjs is asynchronous: its parts come with it, and whoever awaits the backend has them.

/** The private parts of tfjs's engine that are used here. */
interface Engine {
  readonly registryFactory: Readonly<Record<string, {factory: () => unknown} | undefined>>;
  initializeBackend: (name: string) => unknown;
  ready: () => Promise<void>;
}

interface BackendCode {
  readonly load: () => Promise<void>;
  /** Whether nothing trains without it. */
  readonly isRequired: boolean;
  isLoaded: boolean;
  /** Settles when the part that is being loaded is there or has failed; never rejects. */
  loading?: Promise<void> | undefined;
  fault?: unknown;
}

const parts = new Map<string, BackendCode[]>();
/** Backends whose required part was there before it was asked for. */
const complete = new Set<string>();

/**
 * Loads code for a backend when the backend is set: beside a factory that is asynchronous, else at once. After a
 * failure it is loaded anew when the backend is set again.
 *
 * @param isRequired whether nothing trains on the backend without it. Default: operations do without it.
 */
export function loadWithBackend(backend: string, load: () => Promise<void>, isRequired = false): void {
  if (parts.size === 0) {
    watch(tf.engine() as unknown as Engine);
  }
  const code: BackendCode = {load, isRequired, isLoaded: isRequired && complete.has(backend)};
  parts.set(backend, [...(parts.get(backend) ?? []), code]);
  if (isRequired) {
    holdSteps(backend, code);
  }
  onBackend(current => {
    if (current === backend) {
      void begin(code, backend);
    }
  });
}

/** Notes that the required part of a backend is there, so that nothing loads it. */
export function partIsThere(backend: string): void {
  complete.add(backend);
  codeFor(backend)
    .filter(({isRequired}) => isRequired)
    .forEach(code => (code.isLoaded = true));
}

/** Waits for the code of the current backend that is being loaded. */
export async function partsLoaded(): Promise<void> {
  await Promise.all(codeFor(tf.getBackend()).map(({loading = Promise.resolve()}) => loading));
}

/**
 * As `partsLoaded`, for what computes with any kernel of the backend: tfjs's own are wrong in places.
 *
 * @throws LoRAError if the required part of the backend could not be loaded.
 */
export async function kernelsLoaded(): Promise<void> {
  await partsLoaded();
  refuseWithout(tf.getBackend());
}

/** A kernel that the backend lacks or computes wrongly: it refuses calls until the required part has replaced it. */
export function awaitedKernel(kernelName: string, backendName: string): OwnKernel {
  return {
    name: kernelName,
    purpose: 'awaited',
    configure: stock => ({
      ...(stock ?? {kernelName, backendName}),
      kernelFunc: call => {
        refuseWithout(backendName);
        if (stock === undefined) {
          throw new Error(`Kernel '${kernelName}' not registered for backend '${backendName}'`); // as tfjs says it
        }
        return stock.kernelFunc(call);
      },
    }),
  };
}

function refuseWithout(backend: string): void {
  codeFor(backend)
    .filter(code => code.isRequired && !code.isLoaded)
    .forEach(code => {
      throw code.fault === undefined || code.loading !== undefined
        ? notReadyError(
            `The training kernels for ${backend} are still being loaded. ` +
              'Wait for them before a training loop of your own: await tf.ready().',
          )
        : ioError(failure(backend, code.fault), {cause: code.fault});
    });
}

/** Refuses training steps as long as the required part of a backend is missing. */
function holdSteps(backend: string, code: BackendCode): void {
  const refuseStep = () => {
    if (isRecording()) {
      refuseWithout(backend);
    }
  };
  const pending = {over: partsLoaded, refuse: () => refuseWithout(backend), refuseStep};
  pendingKernels.supply(backend, () => (code.isLoaded ? undefined : pending));
}

const codeFor = (backend: string): readonly BackendCode[] => parts.get(backend) ?? [];

function begin(code: BackendCode, backend: string): Promise<void> {
  if (code.isLoaded) {
    return Promise.resolve();
  }
  code.loading ??= code
    .load()
    .then(
      () => void (code.isLoaded = true),
      (fault: unknown) => {
        const isFirst = code.fault === undefined;
        code.fault = fault;
        if (code.isRequired && isFirst) {
          console.warn(`${failure(backend, fault)} Until then, models predict with tfjs's own kernels.`);
        }
      },
    )
    .finally(() => (code.loading = undefined));
  return code.loading;
}

function failure(backend: string, fault: unknown): string {
  return (
    `The training kernels for ${backend} could not be loaded. Check that the library's files are all served, then ` +
    `await tf.setBackend('${backend}') and tf.ready(). (${messageOf(fault)})`
  );
}

/** Has backends wait for their parts, and `tf.ready` for those of a backend that was there before. */
function watch(engine: Engine): void {
  const initialize = engine.initializeBackend.bind(engine);
  engine.initializeBackend = name => {
    const entry = engine.registryFactory[name];
    if (entry === undefined || codeFor(name).length === 0) {
      return initialize(name);
    }
    const {factory} = entry;
    entry.factory = () => {
      const backend = factory();
      return isPromise(backend)
        ? Promise.all([backend, ...codeFor(name).map(code => begin(code, name))]).then(([first]) => first)
        : backend;
    };
    try {
      return initialize(name);
    } finally {
      entry.factory = factory;
    }
  };
  const ready = engine.ready.bind(engine);
  engine.ready = async () => {
    await ready();
    await partsLoaded();
  };
}
