import * as tf from '@tensorflow/tfjs';
import {toTorch, type Values} from '../../platform/formats/layout';
import {namedWeights} from '../../platform/tfjs/weights';
import {classInAdapters} from '../layers/adaptation';
import type {Site} from '../rewire/walk';
import {depthwiseFromTorch, depthwiseToTorch, fromTorch} from './methods/torchLayout';
import type {PEFTForm} from './methods/form';

// The PyTorch counterparts of tfjs layers, by class. No call is outside functions: bundlers can drop the table.

/** A kind of layer of which PEFT stores updates. */
export interface UpdatedKind {
  /** PyTorch's class. */
  torchName: string;
  /** How many axes the weight has in PyTorch. */
  axes: number;
  embedding?: boolean;
  /** Whether its weight is that of a convolution with a group for each channel. */
  depthwise?: boolean;
}

/** A query of PyTorch's `MultiheadAttention`, as it says itself, with the projections in `attention` under its path. */
export interface TorchAttention {
  readonly torchClass: 'MultiheadAttention';
}

/** A weight under both of its names, and the way between its two layouts. */
interface TorchWeight {
  torchName: string;
  name: string;
  /** From PyTorch's layout to that of a weight of the given shape. Default: as it is. */
  readonly fromTorch?: (values: Values, shape: readonly number[]) => Values;
  /** The inverse. */
  readonly toTorch?: (values: Values) => Values;
}

/** The PyTorch counterpart of a class of layers. */
interface TorchLayer {
  weights: readonly TorchWeight[];
  /** The updates that PEFT has for it. Default: none. */
  update?: UpdatedKind;
}

const BIAS: TorchWeight = {torchName: 'bias', name: 'bias'};
const LINEAR: TorchWeight[] = [{torchName: 'weight', name: 'kernel', fromTorch, toTorch}, BIAS];
/** Those of GPT-2's `Conv1D`. */
const CONV1D_WEIGHTS: TorchWeight[] = [{torchName: 'weight', name: 'kernel'}, BIAS];
const DEPTHWISE: TorchWeight[] = [
  {
    torchName: 'weight',
    name: 'depthwise_kernel',
    fromTorch: (values, shape) => depthwiseFromTorch(values, shape[2] ?? 1),
    toTorch: depthwiseToTorch,
  },
  BIAS,
];
const SCALE: TorchWeight = {torchName: 'weight', name: 'gamma'};
const SHIFT: TorchWeight = {torchName: 'bias', name: 'beta'};
const MEAN: TorchWeight = {torchName: 'running_mean', name: 'moving_mean'};
const VARIANCE: TorchWeight = {torchName: 'running_var', name: 'moving_variance'};
const ROWS: TorchWeight[] = [{torchName: 'weight', name: 'embeddings'}];
const CONV2D: TorchLayer = {weights: LINEAR, update: {torchName: 'Conv2d', axes: 4}};
const DEPTHWISE_CONV2D: TorchLayer = {weights: DEPTHWISE, update: {torchName: 'Conv2d', axes: 4, depthwise: true}};

/** A row for each class of layers that has a counterpart in PyTorch. */
const TORCH_LAYERS: Readonly<Record<string, TorchLayer>> = {
  Dense: {weights: LINEAR, update: {torchName: 'Linear', axes: 2}},
  TiedDense: {weights: [BIAS], update: {torchName: 'Linear', axes: 2}},
  Conv1D: {weights: LINEAR, update: {torchName: 'Conv1d', axes: 3}},
  Conv2D: CONV2D,
  Conv3D: {weights: LINEAR, update: {torchName: 'Conv3d', axes: 5}},
  DepthwiseConv2D: DEPTHWISE_CONV2D,
  FusedConv2D: CONV2D,
  FusedDepthwiseConv2D: DEPTHWISE_CONV2D,
  Embedding: {weights: ROWS, update: {torchName: 'Embedding', axes: 2, embedding: true}},
  Conv2DTranspose: {weights: LINEAR}, // [in, out, kh, kw] and [kh, kw, out, in]
  BatchNormalization: {weights: [SCALE, SHIFT, MEAN, VARIANCE]},
  LayerNormalization: {weights: [SCALE, SHIFT]},
  FusedLayerNormalization: {weights: [SCALE, SHIFT]},
  RMSNormalization: {weights: [SCALE]},
  ShortConvolution: {weights: LINEAR},
  Affine: {weights: [SCALE, SHIFT]},
  PositionEmbedding: {weights: ROWS},
  GridPositionEmbedding: {weights: ROWS},
  TypeEmbedding: {weights: ROWS},
};

function torchLayer(className: string): TorchLayer | undefined {
  const adapterClass = classInAdapters(className);
  return Object.hasOwn(TORCH_LAYERS, adapterClass) ? TORCH_LAYERS[adapterClass] : undefined;
}

/** How PEFT stores updates of the layers of a class, or `undefined` if it has none. */
export function updatedKind(className: string): UpdatedKind | undefined {
  return torchLayer(className)?.update;
}

/** Whether PEFT stores updates of a layer in adapters of a type. */
export function carries({axes, everyKind = false, conv1d = true}: PEFTForm, layer: tf.layers.Layer): boolean {
  const kind = updatedKind(layer.getClassName());
  return (
    kind !== undefined &&
    axes.includes(kind.axes) &&
    (everyKind || (!kind.embedding && !kind.depthwise)) &&
    (conv1d || !isConv1D(layer))
  );
}

/** The weights of a layer under both names; `undefined` if it is not one module in PyTorch. */
export function torchWeights(layer: tf.layers.Layer): readonly TorchWeight[] | undefined {
  return isConv1D(layer) ? CONV1D_WEIGHTS : torchLayer(layer.getClassName())?.weights;
}

/**
 * The initializer's class in a `Dense` that is a `Conv1D` in GPT-2: a linear layer whose weight is `[in, out]` in
 * PyTorch, where that of a `Linear` is `[out, in]`. The initializer tells the two apart, since a `Dense` keeps it in
 * files and when it is rebuilt.
 */
export const CONV1D_INITIALIZER = 'tfjs-lora/transformers>Conv1DInitializer';

/** Whether a layer is a `Conv1D` of GPT-2. */
export function isConv1D(layer: tf.layers.Layer): boolean {
  const {kernelInitializer} = layer.getConfig() as {kernelInitializer?: {className?: unknown} | null};
  return classInAdapters(layer.getClassName()) === 'Dense' && kernelInitializer?.className === CONV1D_INITIALIZER;
}

/**
 * Whether a layer is one of the two in the head of MobileBERT whose weights PyTorch multiplies by without calling them,
 * so that PEFT computes nothing of an update until it is merged.
 */
export function isUncalled(path: string, sites: readonly Site[]): boolean {
  const head = /^(.+)\/(?:decoder|dense)$/.exec(path)?.[1];
  return sites.some(
    site => site.path === `${head}/first` && classInAdapters(site.layer.getClassName()) === 'WidthPart',
  );
}

/** Why PEFT cannot train rows of single tokens of a layer, as a sentence; `undefined` if it can. */
export function whyNoTokenRows(layer: tf.layers.Layer): string | undefined {
  const className = classInAdapters(layer.getClassName());
  if (className === 'Embedding') {
    return undefined;
  }
  if (className !== 'Dense' || isConv1D(layer)) {
    return `PEFT trains tokens of an Embedding or Dense, not of a ${layer.getClassName()}.`;
  }
  return namedWeights(layer).has('bias') ? 'PEFT leaves out the bias of a layer where tokens train.' : undefined;
}

/** The rows of a table, or with `isKernel` the columns of a kernel, which is transposed, `[ids, width]`. */
export function rowsOf(table: tf.LayerVariable, ids: readonly number[], isKernel: boolean): tf.Tensor {
  return tf.tidy(() => {
    const rows = tf.gather(table.read(), tf.tensor1d([...ids], 'int32'), isKernel ? 1 : 0);
    return isKernel ? tf.transpose(rows) : rows;
  });
}
