import * as tf from '@tensorflow/tfjs';
import {fieldsOf, type KernelLayer} from './stock';

/** What is diagnosed: a layer with an update. */
interface Updated {
  readonly baseLayer: tf.layers.Layer;
  readonly loraLayer: {readonly A: tf.Tensor; readonly B: tf.Tensor; readonly delta: () => tf.Tensor};
  readonly rank: number;
  readonly alpha: number;
  readonly scaling: number;
  readonly isBaseLayerFrozen: boolean;
}

/** What there is to know about the update of a layer, as text. */
export async function diagnose(layer: Updated): Promise<Record<string, string>> {
  const {deltaNorm, kernelNorm} = await normsOf(layer);
  const {trainable, total} = parameterCounts(layer);
  return {
    rank: String(layer.rank),
    alpha: String(layer.alpha),
    scaling: String(layer.scaling),
    frozen: String(layer.isBaseLayerFrozen),
    trainableParameters: String(trainable),
    totalParameters: String(total),
    trainableRatio: String(trainable / total),
    deltaNorm: String(deltaNorm),
    deltaToKernelRatio: String(deltaNorm / kernelNorm),
  };
}

/** Frobenius norms of the update and of the base's kernel. They are read from the backend, which webgpu cannot do at once. */
export async function normsOf({baseLayer, loraLayer}: Updated): Promise<{deltaNorm: number; kernelNorm: number}> {
  const norms = tf.tidy(() => {
    const {kernel} = fieldsOf<KernelLayer>(baseLayer);
    return tf.stack([tf.norm(loraLayer.delta()), tf.norm(kernel.read())]);
  });
  const [deltaNorm = NaN, kernelNorm = NaN] = await norms.data();
  norms.dispose();
  return {deltaNorm, kernelNorm};
}

/** How many numbers train, and how many there are, the base's included. */
export function parameterCounts({baseLayer, loraLayer}: Updated): {trainable: number; total: number} {
  const factors = loraLayer.A.size + loraLayer.B.size;
  const trainableBase = baseLayer.trainableWeights.reduce((sum, weight) => sum + weight.read().size, 0);
  return {trainable: factors + trainableBase, total: factors + baseLayer.countParams()};
}
