import * as tf from '@tensorflow/tfjs';

/** What tfjs's webgl and webgpu know of their tensors, and who brings them those of others. Private in tfjs. */
interface Storage {
  dataMover: {moveData(backend: tf.KernelBackend, dataId: tf.DataId): void};
  get(dataId: tf.DataId): object;
  set(dataId: tf.DataId, data: object): void;
  delete(dataId: tf.DataId): boolean;
}

const taught = new WeakSet<Storage>();

/**
 * Lets the current backend, which is webgl or webgpu, take over what `compute` computes on it when one of its kernels
 * needs a tensor of another backend. tfjs would read the values synchronously, and upload them again.
 *
 * @param compute returns `undefined` for tensors that it does not know, and gives up the others.
 */
export function handOver(compute: (dataId: tf.DataId) => {y: tf.Tensor; refCount: number} | undefined): void {
  const {tensorMap, texData} = tf.backend() as unknown as Partial<Record<'tensorMap' | 'texData', Storage>>;
  const storage = (tensorMap ?? texData) as Storage;
  if (taught.has(storage)) {
    return;
  }
  taught.add(storage);
  const {dataMover} = storage;
  const {tensorInfo} = tf.engine().state as unknown as {tensorInfo: WeakMap<tf.DataId, {backend: tf.KernelBackend}>};
  storage.dataMover = {
    moveData: (backend, dataId) => {
      const computed = compute(dataId);
      const info = tensorInfo.get(dataId);
      if (computed === undefined || info === undefined) {
        dataMover.moveData(backend, dataId);
        return;
      }
      const {y, refCount} = computed;
      info.backend = backend;
      storage.set(dataId, {...storage.get(y.dataId), refCount});
      storage.delete(y.dataId);
      y.dispose();
    },
  };
}
