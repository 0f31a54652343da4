import * as tf from '@tensorflow/tfjs';
import type {Adaptation} from './adaptation';
import type {UpdatePart} from './layerUpdate';

/** What is diagnosed: a layer with an update. */
interface Updated {
  readonly baseLayer: tf.layers.Layer;
  readonly adaptation: Adaptation;
  readonly updateParts: readonly Pick<UpdatePart, 'parameters' | 'trainableParameters' | 'delta'>[];
  readonly method: {readonly name: string};
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

/** Describes the update of a layer as text. */
export async function diagnose(layer: Updated): Promise<Record<string, string>> {
  // Read everything now: another adapter may be set while the norms are awaited.
  const {method, rank, alpha, scaling, isBaseLayerFrozen} = layer;
  const {trainable, total} = parameterCounts(layer);
  const norms = await normsOf(layer);
  const deltaNorm = Math.hypot(...norms.map(norm => norm.deltaNorm));
  const kernelNorm = Math.hypot(...norms.map(norm => norm.kernelNorm));
  return {
    method: method.name,
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
export async function normsOf({baseLayer, adaptation, updateParts}: Updated): Promise<UpdateNorms[]> {
  const norms = tf.tidy(() => {
    const kernels = adaptation.weights(baseLayer).map(({variable}) => tf.norm(variable.read()));
    const deltas = updateParts.map(update => tf.norm(update.delta()));
    return tf.stack([tf.stack(deltas), tf.stack(kernels)], 1);
  });
  const values = await norms.data();
  norms.dispose();
  return updateParts.map((_, i) => ({deltaNorm: values[2 * i] ?? NaN, kernelNorm: values[2 * i + 1] ?? NaN}));
}

/** How many parameters of the update and of the base train, and how many there are. */
export function parameterCounts({baseLayer, updateParts}: Updated): {
  trainable: number;
  trainableBase: number;
  total: number;
} {
  const sum = (counts: number[]) => counts.reduce((total, count) => total + count, 0);
  const trainableBase = sum(baseLayer.trainableWeights.map(weight => weight.read().size));
  return {
    trainable: sum(updateParts.map(update => update.trainableParameters)) + trainableBase,
    trainableBase,
    total: sum(updateParts.map(update => update.parameters)) + baseLayer.countParams(),
  };
}
