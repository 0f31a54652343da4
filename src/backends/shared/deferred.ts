import * as tf from '@tensorflow/tfjs';
import {takeData} from '../../platform/tfjs/engine';
import {capabilities} from './capabilities';
import type {Computed} from './launches';

/** A computation that is deferred, and the tensors that it needs. */
export interface Deferred {
  compute(): tf.Tensor;
  /** Owned: freed with the deferred tensor. */
  readonly held: readonly tf.Tensor[];
  /** Called when something reads the values. */
  onRead?(): void;
  /** Called when the tensor is freed, or no longer deferred. */
  onEnd?(): void;
}

interface Entry extends Deferred {
  shape: number[];
  refCount: number;
}

/** A backend of tensors whose values are not in memory: a table of them, and how many tensors share each. */
export abstract class TableBackend<E extends {refCount: number}> extends tf.KernelBackend {
  protected readonly entries = new Map<tf.DataId, E>();

  override incRef(dataId: tf.DataId): void {
    (this.entries.get(dataId) as E).refCount++;
  }

  override refCount(dataId: tf.DataId): number {
    return this.entries.get(dataId)?.refCount ?? 0;
  }

  override numDataIds(): number {
    return this.entries.size;
  }

  override memory(): {unreliable: boolean} {
    return {unreliable: false};
  }

  override floatPrecision(): 32 {
    return 32;
  }
}

/**
 * The backend of tensors that are not computed yet. When a kernel of another backend or a reader needs their values,
 * tfjs fetches them from here, which computes them; a graphics card computes them itself.
 */
class DeferredBackend extends TableBackend<Entry> {
  add(shape: number[], deferred: Deferred): tf.DataId {
    const dataId = {};
    this.entries.set(dataId, {...deferred, shape, refCount: 1});
    return dataId;
  }

  find(dataId: tf.DataId): Deferred | undefined {
    return this.entries.get(dataId);
  }

  override readSync(dataId: tf.DataId): tf.backend_util.BackendValues {
    const entry = this.entries.get(dataId) as Entry;
    entry.onRead?.();
    // Returning the values from tf.tidy would make it search each of them for tensors.
    const y = tf.tidy(() => entry.compute());
    try {
      return y.dataSync();
    } finally {
      y.dispose();
    }
  }

  override async read(dataId: tf.DataId): Promise<tf.backend_util.BackendValues> {
    const entry = this.entries.get(dataId) as Entry;
    entry.onRead?.();
    const y = tf.tidy(() => tf.keep(entry.compute()));
    try {
      return await y.data();
    } finally {
      y.dispose();
    }
  }

  /** Computes a tensor, which is no longer in this backend then. */
  take(dataId: tf.DataId): Computed | undefined {
    const entry = this.entries.get(dataId);
    if (entry === undefined) {
      return undefined;
    }
    entry.onRead?.();
    const y = tf.tidy(() => entry.compute());
    const {refCount} = entry;
    this.disposeData(dataId, true);
    return {y, refCount};
  }

  override disposeData(dataId: tf.DataId, force = false): boolean {
    const entry = this.entries.get(dataId);
    if (entry !== undefined) {
      entry.refCount--;
      if (entry.refCount > 0 && !force) {
        return false;
      }
      this.entries.delete(dataId);
      tf.dispose([...entry.held]);
      entry.onEnd?.();
    }
    return true;
  }
}

const backend = new DeferredBackend();

/** A float tensor that is computed when its values are requested. */
export function defer(shape: number[], deferred: Deferred): tf.Tensor {
  deferred.held.forEach(tensor => tf.keep(tensor));
  capabilities().fusedConvolution?.handOver?.(dataId => backend.take(dataId));
  return tf.engine().makeTensorFromDataId(backend.add(shape, deferred), shape, 'float32', backend);
}

/** The pending computation of a tensor; `undefined` for a tensor that has its values. */
export function deferredOf(x: tf.Tensor): Deferred | undefined {
  return backend.find(x.dataId);
}

/** A tensor with the same values. Unlike `tf.clone`, it keeps a deferred one deferred. */
export function cloneOf<T extends tf.Tensor>(x: T): T {
  const {dataId, shape, dtype} = x;
  if (deferredOf(x) === undefined) {
    return tf.clone(x);
  }
  backend.incRef(dataId);
  return tf.engine().makeTensorFromDataId(dataId, shape, dtype, backend) as T;
}

/** Gives a variable the values of a tensor. Unlike its `assign`, it keeps a deferred one deferred. */
export function assign(variable: tf.Variable, value: tf.Tensor): void {
  if (deferredOf(value) === undefined) {
    variable.assign(value);
    return;
  }
  backend.incRef(value.dataId);
  takeData(variable, value);
}
