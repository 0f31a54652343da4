import type * as tf from '@tensorflow/tfjs';
// tfjs declares these fields of its layers protected or private. They have kept their names through all of tfjs 2, 3
// and 4.

/** What a stock layer with a kernel holds. */
export interface KernelLayer {
  kernel: tf.LayerVariable;
  bias: tf.LayerVariable | null;
  activation: {apply(x: tf.Tensor): tf.Tensor; getClassName(): string};
}

/** What a stock `Dense` holds. */
export interface DenseLayer extends KernelLayer {
  units: number;
}

/** What a stock convolution holds. */
export interface ConvLayer extends KernelLayer {
  filters: number;
  kernelSize: number[];
  strides: number[];
  padding: 'valid' | 'same';
  dataFormat: 'channelsFirst' | 'channelsLast';
  dilationRate: number[];
}

/** What a stock `DepthwiseConv2D` holds. */
export interface DepthwiseLayer extends Omit<ConvLayer, 'kernel' | 'filters'> {
  depthwiseKernel: tf.LayerVariable;
  depthMultiplier: number;
}

/** What a stock `SeparableConv2D` holds. */
export interface SeparableLayer extends Omit<ConvLayer, 'kernel'> {
  depthwiseKernel: tf.LayerVariable;
  pointwiseKernel: tf.LayerVariable;
  depthMultiplier: number;
  useBias: boolean;
}

/** What a stock `Embedding` holds. */
export interface EmbeddingLayer {
  embeddings: tf.LayerVariable;
}

/** What a stock `BatchNormalization` holds. */
export interface BatchNormLayer {
  axis: number;
  epsilon: number;
  gamma?: tf.LayerVariable;
  beta?: tf.LayerVariable;
  movingMean: tf.LayerVariable;
  movingVariance: tf.LayerVariable;
}

export interface LayerNormLayer {
  axis: number[];
  epsilon: number;
  gamma?: tf.LayerVariable | null;
  beta?: tf.LayerVariable | null;
}

/** Fields of every layer that a rebuild has to see. */
export interface LayerInternals {
  _refCount: number | null;
  initialWeights: tf.Tensor[] | null;
}

/** A layer, a model, or an optimizer as a view of its fields. The caller knows its class. */
export function fieldsOf<Fields>(owner: tf.layers.Layer | tf.Optimizer): Fields {
  return owner as unknown as Fields;
}
