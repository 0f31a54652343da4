import type * as tf from '@tensorflow/tfjs';
import {isConv1D} from './conv1d';
import {type PEFTType, TYPES} from './methodTypes';
import {depthwiseFromTorch, depthwiseToTorch, fromTorch, toTorch, type Values} from '../formats/layout';

// What PyTorch's modules are among tfjs's layers, by the class of the layer.

/** A kind of layer of which PEFT stores updates. */
export interface UpdatedKind {
  /** PyTorch's class. */
  torchName: string;
  /** How many axes the weight has in PyTorch. */
  axes: number;
  /** Whether the update is one of an embedding. */
  embedding?: boolean;
  /** Whether its weight is that of a convolution with a group for each channel. */
  depthwise?: boolean;
}

const UPDATED: Readonly<Record<string, UpdatedKind>> = {
  Dense: {torchName: 'Linear', axes: 2},
  Conv1D: {torchName: 'Conv1d', axes: 3},
  Conv2D: {torchName: 'Conv2d', axes: 4},
  Conv3D: {torchName: 'Conv3d', axes: 5},
  DepthwiseConv2D: {torchName: 'Conv2d', axes: 4, depthwise: true},
  FusedConv2D: {torchName: 'Conv2d', axes: 4},
  FusedDepthwiseConv2D: {torchName: 'Conv2d', axes: 4, depthwise: true},
  Embedding: {torchName: 'Embedding', axes: 2, embedding: true},
};

/** How PEFT stores updates of the layers of a class, or `undefined` if it has none. */
export function updatedKind(className: string): UpdatedKind | undefined {
  return Object.hasOwn(UPDATED, className) ? UPDATED[className] : undefined;
}

/** Whether PEFT stores updates of a layer in adapters of a type. */
export function carries(type: PEFTType, layer: tf.layers.Layer): boolean {
  const kind = updatedKind(layer.getClassName());
  if (type === 'LORA' || kind === undefined) {
    return kind !== undefined;
  }
  const {axes, conv1d = true} = TYPES[type];
  return !kind.embedding && !kind.depthwise && axes.includes(kind.axes) && (conv1d || !isConv1D(layer));
}

/** A weight under both of its names, and the way between its two layouts. */
export interface TorchWeight {
  torchName: string;
  name: string;
  readonly fromTorch: (values: Values, shape: readonly number[]) => Values;
  readonly toTorch: (values: Values) => Values;
}

const same = (values: Values) => values;

function plain(torchName: string, name: string): TorchWeight {
  return {torchName, name, fromTorch: same, toTorch: same};
}

const BIAS = plain('bias', 'bias');
const LINEAR: TorchWeight[] = [{torchName: 'weight', name: 'kernel', fromTorch, toTorch}, BIAS];
/** Those of GPT-2's `Conv1D`. */
const CONV1D_WEIGHTS = [plain('weight', 'kernel'), BIAS];
const DEPTHWISE: TorchWeight[] = [
  {
    torchName: 'weight',
    name: 'depthwise_kernel',
    fromTorch: (values, shape) => depthwiseFromTorch(values, shape[2] ?? 1),
    toTorch: depthwiseToTorch,
  },
  BIAS,
];
const SCALE_AND_SHIFT = [plain('weight', 'gamma'), plain('bias', 'beta')];

const SAVED: Readonly<Record<string, readonly TorchWeight[]>> = {
  Dense: LINEAR,
  Conv1D: LINEAR,
  Conv2D: LINEAR,
  Conv2DTranspose: LINEAR, // [in, out, kh, kw] and [kh, kw, out, in]
  Conv3D: LINEAR,
  DepthwiseConv2D: DEPTHWISE,
  FusedConv2D: LINEAR,
  FusedDepthwiseConv2D: DEPTHWISE,
  Embedding: [plain('weight', 'embeddings')],
  BatchNormalization: [
    ...SCALE_AND_SHIFT,
    plain('running_mean', 'moving_mean'),
    plain('running_var', 'moving_variance'),
  ],
  LayerNormalization: SCALE_AND_SHIFT,
  FusedLayerNormalization: SCALE_AND_SHIFT,
  RMSNormalization: [plain('weight', 'gamma')],
  PositionEmbedding: [plain('weight', 'embeddings')],
  TypeEmbedding: [plain('weight', 'embeddings')],
};

/** The weights of a layer under both names, or `undefined` if it has no one module of PyTorch for a counterpart. */
export function torchWeights(layer: tf.layers.Layer): readonly TorchWeight[] | undefined {
  const className = layer.getClassName();
  return isConv1D(layer) ? CONV1D_WEIGHTS : Object.hasOwn(SAVED, className) ? SAVED[className] : undefined;
}
