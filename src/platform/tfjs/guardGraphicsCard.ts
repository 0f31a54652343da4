import type * as tf from '@tensorflow/tfjs';
import {deviceLostError, type LoRAError, unsupportedError} from '../errors';

// A page may lose its graphics card: a WebGL context, or a WebGPU device. tfjs does not notice. It waits forever for
// values, or reads zeros; when another backend is set, it moves the zeros there. Synchronous reads from WebGPU use a
// canvas, which gives zeros if that does not work.

/** Marks a backend that is guarded, shared by all copies of the library in a process. */
const BRAND = Symbol.for('tfjs-lora.guarded');

/** The private parts of tfjs's GPU backends that are used here. */
interface Backend {
  [BRAND]?: true;
  read(dataId: tf.DataId): Promise<tf.backend_util.BackendValues>;
  readSync(dataId: tf.DataId): tf.backend_util.BackendValues;
  disposeData(dataId: tf.DataId): boolean;
}

interface WebGLBackend extends Backend {
  gpgpu: {gl: WebGLRenderingContext};
  texData: {get(dataId: tf.DataId): Numbers};
  runWebGLProgram(...call: unknown[]): tf.TensorInfo;
}

interface WebGPUBackend extends Backend {
  device: {lost: Promise<unknown>};
  tensorMap: {get(dataId: tf.DataId): Numbers};
  runWebGPUProgram(...call: unknown[]): tf.TensorInfo;
  makeTensorInfo(shape: number[], dtype: tf.DataType, values: Float32Array): tf.TensorInfo;
  uploadToGPU(dataId: tf.DataId): void;
}

/** The values of a tensor: in memory, or only on the card. A slice in WebGL is part of another tensor. */
interface Numbers {
  values?: tf.backend_util.BackendValues | null;
  slice?: object | null;
}

/** A graphics card that may be lost. */
interface Card {
  /** Its name in messages. */
  name: string;
  numbersOf(dataId: tf.DataId): Numbers;
  isLost(): boolean;
  /** Calls `lose` when it is lost. */
  watch(lose: () => void): void;
}

/**
 * Lets the backend of a graphics card refuse what cannot be had, with a `LoRAError`: every read, and every launch, once
 * the context or device is lost, and for good, also when the browser restores it, without the values; and synchronous
 * reads from WebGPU where these return wrong values.
 */
export function guardGraphicsCard(backend: object): void {
  if (BRAND in backend) {
    return;
  }
  if ('gpgpu' in backend && 'texData' in backend) {
    guardWebGL(backend as WebGLBackend);
  } else if ('device' in backend && 'tensorMap' in backend) {
    guardWebGPU(backend as WebGPUBackend);
  }
}

function guardWebGL(backend: WebGLBackend): void {
  const {gl} = backend.gpgpu;
  guard(backend, 'runWebGLProgram', {
    name: 'WebGL context',
    numbersOf: dataId => backend.texData.get(dataId),
    isLost: () => gl.isContextLost(),
    watch: lose => gl.canvas.addEventListener('webglcontextlost', lose),
  });
}

function guardWebGPU(backend: WebGPUBackend): void {
  const numbersOf = (dataId: tf.DataId) => backend.tensorMap.get(dataId);
  const stockRead = backend.readSync.bind(backend);
  let readsAtOnce = false;
  backend.readSync = dataId => {
    const numbers = numbersOf(dataId);
    if (isInMemory(numbers)) {
      return stockRead(dataId);
    }
    // Only a success is cached, and zeros are tried again: a device gives zeros for a while before it reports its loss.
    readsAtOnce ||= canRead(backend, stockRead);
    const values = readsAtOnce ? stockRead(dataId) : [];
    if ((values as Float32Array).some(value => value !== 0) || (readsAtOnce && canRead(backend, stockRead))) {
      return values;
    }
    numbers.values = null;
    throw unsupportedError(
      'The webgpu backend cannot read synchronously here, as tfjs does when another backend is set, or its ' +
        "device was just lost. Move models and tensors with `await moveTo([model, xs, ys], 'cpu')`, and read " +
        'tensors with `await tensor.data()`; both report a lost device.',
    );
  };
  guard(backend, 'runWebGPUProgram', {
    name: 'WebGPU device',
    numbersOf,
    isLost: () => false,
    watch: lose => void backend.device.lost.then(lose),
  });
}

function canRead(backend: WebGPUBackend, read: Backend['readSync']): boolean {
  const values = Float32Array.of(1.5, -2e-8, 123456.79, 3e38);
  const {dataId} = backend.makeTensorInfo([values.length], 'float32', values);
  backend.uploadToGPU(dataId);
  const readValues = read(dataId) as Float32Array;
  backend.disposeData(dataId);
  return values.every((value, i) => readValues[i] === value);
}

/** Makes launches, and reads of values that are only on a card, fail when it is lost. */
function guard<Launch extends string>(
  backend: Backend & Record<Launch, (...call: unknown[]) => tf.TensorInfo>,
  launch: Launch,
  card: Card,
): void {
  const {name} = card;
  backend[BRAND] = true;
  const refusal = (cause?: unknown) =>
    deviceLostError(
      `The ${name} was lost, and with it the values of tensors on the graphics card. Reload the page, or call ` +
        "tf.setBackend('cpu'). Then load the model, its data and the adapter again.",
      {cause},
    );
  let wasLost = false;
  const reading = new Set<(error: LoRAError) => void>();
  card.watch(() => {
    wasLost = true;
    reading.forEach(fail => fail(refusal()));
  });
  const check = () => {
    wasLost ||= card.isLost();
    if (wasLost) {
      throw refusal();
    }
  };
  const [read, readSync] = [backend.read.bind(backend), backend.readSync.bind(backend)];
  backend.read = async dataId => {
    if (isInMemory(card.numbersOf(dataId))) {
      return read(dataId);
    }
    check();
    let fail: (error: LoRAError) => void = () => undefined;
    const lost = new Promise<never>((_, reject) => reading.add((fail = reject)));
    try {
      const values = await Promise.race([read(dataId), lost]);
      check();
      return values;
    } catch (error) {
      // WebGPU fails reads before it reports that the device is lost.
      throw (error as Partial<Error> | null)?.name === 'AbortError' ? refusal(error) : error;
    } finally {
      reading.delete(fail);
    }
  };
  backend.readSync = dataId => {
    if (isInMemory(card.numbersOf(dataId))) {
      return readSync(dataId);
    }
    check();
    const values = readSync(dataId);
    check();
    return values;
  };
  const run = backend[launch].bind(backend);
  (backend as Record<string, unknown>)[launch] = (...call: unknown[]) => {
    check();
    return run(...call);
  };
}

function isInMemory({values, slice}: Numbers): boolean {
  return (values ?? null) !== null && (slice ?? null) === null;
}
