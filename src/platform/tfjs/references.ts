import * as tf from '@tensorflow/tfjs';

/** A backend that counts references to its tensors. */
interface Owner {
  has(dataId: tf.DataId): boolean;
  incRef(dataId: tf.DataId): void;
}

const owners = new Set<Owner>();
const changed = new WeakSet<tf.KernelBackend>();

/**
 * Lets the current backend leave references to tensors of another one to it. tfjs counts those of variables and
 * reshaped tensors on the current backend, which would fetch the values first, or not count them.
 */
export function leaveReferencesTo(owner: Owner): void {
  owners.add(owner);
  const backend = tf.backend();
  if (changed.has(backend)) {
    return;
  }
  changed.add(backend);
  const incRef = backend.incRef.bind(backend);
  backend.incRef = dataId => {
    ([...owners].find(other => other.has(dataId)) ?? {incRef}).incRef(dataId);
  };
}

/** Corrects what tfjs counts as the bytes of all tensors, for values that no memory holds. */
export function countHeldBytes(more: number): void {
  (tf.engine() as unknown as {state: {numBytes: number}}).state.numBytes += more;
}
