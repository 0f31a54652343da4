import type * as tf from '@tensorflow/tfjs';
// tfjs declares these fields of its layers protected or private. They have kept their names from tfjs 2 to 4.

/** An activation of a stock layer. */
export interface ActivationObject {
  apply(x: tf.Tensor): tf.Tensor;
  getClassName(): string;
}

export interface KernelLayer {
  kernel: tf.LayerVariable;
  bias: tf.LayerVariable | null;
  activation: ActivationObject;
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

/** What a stock `Conv1D` holds. */
export interface Conv1DLayer extends Omit<ConvLayer, 'padding'> {
  padding: 'valid' | 'same' | 'causal';
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
  inputDim: number;
}

/** What a stock recurrent cell holds. The layer around it clears the masks after each pass over a sequence. */
export interface Cell {
  kernel: tf.LayerVariable;
  recurrentKernel: tf.LayerVariable;
  bias: tf.LayerVariable | null;
  activation: ActivationObject;
  recurrentActivation?: ActivationObject;
  dropout: number;
  recurrentDropout: number;
  dropoutFunc?: (x: tf.Tensor, rate: number) => tf.Tensor;
  dropoutMask: tf.Tensor | tf.Tensor[] | null;
  recurrentDropoutMask: tf.Tensor | tf.Tensor[] | null;
  call(inputs: tf.Tensor[], kwargs: Record<string, unknown>): tf.Tensor[];
}

/** The layers inside a stock layer: the cell of a recurrent one, the cells of a stack, or the wrapped layer. */
export interface InnerLayers {
  cell?: tf.layers.Layer;
  cells?: tf.layers.Layer[];
  forwardLayer?: tf.layers.Layer;
  backwardLayer?: tf.layers.Layer;
  /** Of a `TimeDistributed`. */
  layer?: tf.layers.Layer;
}

export interface PoolLayer extends Pick<ConvLayer, 'strides' | 'padding' | 'dataFormat'> {
  poolSize: number[];
}

/** What a stock `ReLU` holds. */
export interface ReluLayer {
  maxValue?: number | null;
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

/** What a stock `LayerNormalization` holds. */
export interface LayerNormLayer {
  axis: number[];
  epsilon: number;
  gamma?: tf.LayerVariable | null;
  beta?: tf.LayerVariable | null;
}

/** What every layer holds. */
export interface LayerInternals {
  _refCount: number | null;
  initialWeights: tf.Tensor[] | null;
  /** The weights that are never trained, not those of a frozen layer. */
  _nonTrainableWeights: tf.LayerVariable[];
  warnOnIncompatibleInputShape(inputShape: tf.Shape): void;
  /** Of recurrent layers. */
  resetStates(states?: tf.Tensor | tf.Tensor[]): void;
}

export interface LayerCall {
  outboundLayer: tf.layers.Layer;
  inputTensors: tf.SymbolicTensor[];
  outputTensors: tf.SymbolicTensor[];
  callArgs: Record<string, unknown> | null;
}

export interface ModelFields {
  layers?: tf.layers.Layer[];
  nodesByDepth: Record<string, LayerCall[]>;
}
