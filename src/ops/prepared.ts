import * as tf from '@tensorflow/tfjs';

/**
 * Tensors that are computed from frozen weights once and kept as long as these stay as they are: a kernel's adjoint, the factors of a
 * normalization. They belong to the layer whose weights they come from, which disposes them with itself.
 */
export class Prepared {
  private sources: readonly tf.DataId[] = [];
  private tensors: readonly tf.Tensor[] = [];

  /** What `prepare` made of `sources`, made anew if any of these has other data than the last time. */
  get<T extends readonly tf.Tensor[]>(sources: readonly tf.Tensor[], prepare: () => T): T {
    const current = this.tensors.length > 0 && sources.every(({dataId}, i) => dataId === this.sources[i]);
    if (!current) {
      this.dispose();
      this.tensors = tf.tidy(() => [...prepare()]).map(tensor => tf.keep(tensor));
      this.sources = sources.map(({dataId}) => dataId);
    }
    return this.tensors as unknown as T;
  }

  /** Frees what is kept. It is made anew when it is next asked for. */
  dispose(): void {
    this.tensors.forEach(tensor => tensor.dispose());
    this.tensors = [];
  }
}
