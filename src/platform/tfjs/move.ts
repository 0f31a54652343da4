import * as tf from '@tensorflow/tfjs';
import type {Step} from '../signals';

/** A backend of tensors that are computed or read when they are needed. */
interface MovingBackend extends tf.KernelBackend {
  /** Whether its tensors stay where they are. Throws if the current backend cannot use them there. */
  stay?(): boolean;
}

/** The location of values in tfjs, and the shape of the tensor that had them first. */
interface DataInfo {
  backend: MovingBackend;
  shape: number[];
}

/** The storage of tensor values and the factories of backends. Private in tfjs. */
interface Engine {
  registryFactory: object;
  state: {tensorInfo: {get(dataId: tf.DataId): DataInfo | undefined}};
  moveData(backend: tf.KernelBackend, dataId: tf.DataId): void;
}

export function registeredBackends(): string[] {
  return Object.keys((tf.engine() as unknown as Engine).registryFactory);
}

/** Moves tensors to the current backend. Reads them first, because tfjs reads synchronously what it moves. */
export async function bringHere(tensors: readonly tf.Tensor[], step: Step = () => Promise.resolve()): Promise<void> {
  const engine = tf.engine() as unknown as Engine;
  const here = tf.backend();
  const infoOf = ({dataId}: tf.Tensor) => engine.state.tensorInfo.get(dataId);
  const elsewhere = tensors.filter(tensor => {
    const backend: MovingBackend | undefined = tensor.isDisposed ? here : infoOf(tensor)?.backend;
    return backend !== here && backend?.stay?.() !== true;
  });
  let done = 0;
  const report = () => step({done, total: elsewhere.length, what: 'reading tensors'});
  await report();
  await Promise.all(
    elsewhere.map(async tensor => {
      await tensor.data();
      done++;
      await report();
    }),
  );
  for (const tensor of elsewhere) {
    const info = infoOf(tensor);
    // Tensors may share their values, and some may be disposed of by now.
    if (!tensor.isDisposed && info !== undefined && info.backend !== here) {
      // tfjs-node would take them for a tensor of that first shape, also where this one is a reshape of it.
      info.shape = tensor.shape;
      engine.moveData(here, tensor.dataId);
    }
  }
}

/** All tensors in some objects, at any depth: in layers, optimizers, graphs and caches. */
export function tensorsIn(things: readonly unknown[]): tf.Tensor[] {
  const tensors: tf.Tensor[] = [];
  const seen = new Set<unknown>();
  const waiting = [...things];
  while (waiting.length > 0) {
    const thing = waiting.pop();
    if (typeof thing !== 'object' || thing === null || ArrayBuffer.isView(thing) || seen.has(thing)) {
      continue;
    }
    seen.add(thing);
    if (thing instanceof tf.Tensor) {
      tensors.push(thing as tf.Tensor);
      continue;
    }
    for (const value of thing instanceof Map || thing instanceof Set ? thing.values() : Object.values(thing)) {
      waiting.push(value);
    }
  }
  return tensors;
}
