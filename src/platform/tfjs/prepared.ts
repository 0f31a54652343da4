import * as tf from '@tensorflow/tfjs';

/**
 * Tensors computed once from frozen weights and cached while these do not change: a kernel's adjoint, the factors of a
 * normalization. They belong to the layer of the weights, which disposes them with itself.
 */
export class Prepared {
  private sources: readonly unknown[] = [];
  private tensors: readonly tf.Tensor[] = [];

  /** What `prepare` made of `sources`, made again if the data of any of these or the object `settings` changed. */
  get<T extends readonly tf.Tensor[]>(sources: readonly tf.Tensor[], prepare: () => T, settings?: unknown): T {
    const current = [...sources.map(({dataId}) => dataId), settings];
    if (this.tensors.length === 0 || current.some((source, i) => source !== this.sources[i])) {
      this.dispose();
      this.tensors = tf.tidy(() => [...prepare()]).map(tensor => tf.keep(tensor));
      this.sources = current;
    }
    return this.tensors as unknown as T;
  }

  /** Frees the cache. The next request fills it again. */
  dispose(): void {
    this.tensors.forEach(tensor => tensor.dispose());
    this.tensors = [];
  }
}
