import type * as tf from '@tensorflow/tfjs';
import {LoRALayer} from '../../../core/layers/loraLayer';
import {giveMerged, mergeEach} from '../../../core/model/restore';
import {shareWeights} from '../../../platform/tfjs/weights';

/** A merge of a model whose updates are merged only while they are read: one kernel at a time takes memory. */
export class LazyMerge {
  /** Merged layer → adapted layer. */
  private readonly waiting = new Map<tf.layers.Layer, LoRALayer>();

  /** The merged model. The kernels that wait share their buffers with the frozen ones. */
  merge(model: tf.LayersModel): tf.LayersModel {
    return mergeEach(model, (layer, plain) => {
      // Quantized layers become others.
      if (layer instanceof LoRALayer && layer.baseLayer.getClassName() === plain.getClassName()) {
        shareWeights(layer.baseLayer, plain);
        this.waiting.set(plain, layer);
      } else {
        giveMerged(layer, plain);
      }
    });
  }

  /** Calls `read` while a layer of the merged model has its merged weights. */
  async during<T>(plain: tf.layers.Layer, read: () => Promise<T>): Promise<T> {
    const adapted = this.waiting.get(plain);
    adapted?.mergeInto(plain);
    try {
      return await read();
    } finally {
      if (adapted !== undefined && this.waiting.has(plain)) {
        shareWeights(adapted.baseLayer, plain);
      }
    }
  }

  /** Merges layers for good. */
  mergeNow(isMeant: (layer: tf.layers.Layer) => boolean): void {
    for (const [plain, adapted] of this.waiting) {
      if (isMeant(plain)) {
        adapted.mergeInto(plain);
        this.waiting.delete(plain);
      }
    }
  }
}
