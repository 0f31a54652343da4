import * as tf from '@tensorflow/tfjs';
import type {Adaptation} from './adaptation';

/** What is diagnosed: a layer with an update. */
interface Updated {
  readonly baseLayer: tf.layers.Layer;
  readonly adaptation: Adaptation;
  readonly lowRankParts: readonly {readonly A: tf.Tensor; readonly B: tf.Tensor; readonly delta: () => tf.Tensor}[];
  readonly rank: number;
  readonly alpha: number;
  readonly scaling: number;
  readonly isBaseLayerFrozen: boolean;
}

/** Frobenius norms of an update and of the kernel that it updates. */
export interface UpdateNorms {
  deltaNorm: number;
  kernelNorm: number;
}

/** What there is to know about the update of a layer, as text. */
export async function diagnose(layer: Updated): Promise<Record<string, string>> {
  // All of it is read now: another adapter may be set while the norms are awaited.
  const {rank, alpha, scaling, isBaseLayerFrozen} = layer;
  const {trainable, total} = parameterCounts(layer);
  const norms = await normsOf(layer);
  const deltaNorm = Math.hypot(...norms.map(part => part.deltaNorm));
  const kernelNorm = Math.hypot(...norms.map(part => part.kernelNorm));
  return {
    rank: String(rank),
    alpha: String(alpha),
    scaling: String(scaling),
    frozen: String(isBaseLayerFrozen),
    trainableParameters: String(trainable),
    totalParameters: String(total),
    trainableRatio: String(trainable / total),
    deltaNorm: String(deltaNorm),
    deltaToKernelRatio: String(deltaNorm / kernelNorm),
  };
}

/** The norms of each update of a layer. They are read from the backend, which webgpu cannot do at once. */
export async function normsOf({baseLayer, adaptation, lowRankParts}: Updated): Promise<UpdateNorms[]> {
  const norms = tf.tidy(() => {
    const kernels = adaptation.weights(baseLayer).map(({variable}) => tf.norm(variable.read()));
    const deltas = lowRankParts.map(part => tf.norm(part.delta()));
    return tf.stack([tf.stack(deltas), tf.stack(kernels)], 1);
  });
  const values = await norms.data();
  norms.dispose();
  return lowRankParts.map((_, i) => ({deltaNorm: values[2 * i] ?? NaN, kernelNorm: values[2 * i + 1] ?? NaN}));
}

/** How many numbers the factors hold, how many train, and how many there are, the base's included. */
export function parameterCounts({baseLayer, lowRankParts}: Updated): {
  factors: number;
  trainable: number;
  total: number;
} {
  const factors = lowRankParts.reduce((sum, {A, B}) => sum + A.size + B.size, 0);
  const trainableBase = baseLayer.trainableWeights.reduce((sum, weight) => sum + weight.read().size, 0);
  return {factors, trainable: factors + trainableBase, total: factors + baseLayer.countParams()};
}
