import type * as tf from '@tensorflow/tfjs';
import {brief} from '../errors';
import {camelCase, camelCased, type Json, kerasEntry, type KerasEntry} from './json';

/** What is known of the file while its layers are read. */
export interface Reading {
  /** Whether Keras 3 wrote it. */
  isKeras3: boolean;
  /** Whether a layer in it hides places (`mask_zero`, `Masking`). */
  isMasked: boolean;
  /** What cannot be read, a line for each. */
  faults: string[];
  /** What is read and computes otherwise in training. */
  warnings: string[];
}

/** The values that a setting may have, as tfjs has it no other way; one that is missing or null is always right. */
export type Fixed = Readonly<Record<string, readonly unknown[]>>;

/** The settings of a config that are not among these, as a fault says them. */
export function settingsBeyond(fixed: Fixed, config: Json): string[] {
  const isBeyond = ([key, values]: [string, readonly unknown[]]) =>
    [config[key]].flat().some(value => value != null && !values.includes(value));
  return Object.entries(fixed).flatMap(pair => (isBeyond(pair) ? [`${pair[0]}=${brief(config[pair[0]])}`] : []));
}

const CONVOLUTION: Fixed = {groups: [1]};
const POOLED: Fixed = {keepdims: [false]};
const RECURRENT: Fixed = {time_major: [false]};

// Written out: a bundler keeps objects with spreads in a page that never reads them.
/** The layers that tfjs computes as Keras does, and what they must not say for it. */
const STOCK: Readonly<Record<string, Fixed>> = {
  Activation: {},
  Add: {},
  AlphaDropout: {},
  Average: {},
  AveragePooling1D: {},
  AveragePooling2D: {},
  AveragePooling3D: {},
  BatchNormalization: {renorm: [false]},
  Bidirectional: {},
  Concatenate: {},
  // tfjs loads causal padding, and does not compute it.
  Conv1D: {groups: [1], padding: ['valid', 'same']},
  Conv2D: CONVOLUTION,
  Conv2DTranspose: {groups: [1], output_padding: [], dilation_rate: [1]},
  Conv3D: CONVOLUTION,
  Conv3DTranspose: {groups: [1], output_padding: [], dilation_rate: [1]},
  Cropping2D: {},
  Dense: {lora_rank: [], quantization_config: []},
  DepthwiseConv2D: CONVOLUTION,
  Dot: {},
  Dropout: {},
  ELU: {alpha: [1]},
  Embedding: {lora_rank: [], quantization_config: []},
  Flatten: {data_format: ['channels_last']},
  GaussianDropout: {},
  GaussianNoise: {},
  GlobalAveragePooling1D: {keepdims: [false], data_format: ['channels_last']},
  GlobalAveragePooling2D: POOLED,
  GlobalMaxPooling1D: {keepdims: [false], data_format: ['channels_last']},
  GlobalMaxPooling2D: POOLED,
  GRU: {time_major: [false], reset_after: [false]},
  InputLayer: {sparse: [false], ragged: [false], optional: [false]},
  LayerNormalization: {rms_scaling: [false]},
  LeakyReLU: {},
  LSTM: RECURRENT,
  Masking: {},
  MaxPooling1D: {},
  MaxPooling2D: {},
  MaxPooling3D: {},
  Maximum: {},
  Minimum: {},
  Multiply: {},
  Permute: {},
  PReLU: {},
  ReLU: {negative_slope: [0], threshold: [0]},
  RepeatVector: {},
  Rescaling: {},
  Reshape: {},
  SeparableConv2D: CONVOLUTION,
  SimpleRNN: RECURRENT,
  Softmax: {},
  SpatialDropout1D: {},
  ThresholdedReLU: {},
  TimeDistributed: {},
  // tfjs takes other places of the picture for bilinear numbers.
  UpSampling2D: {interpolation: ['nearest']},
  ZeroPadding2D: {},
};

/** Layers that heed a mask in Keras, and not in tfjs. */
const HEED_MASKS = ['Bidirectional', 'GlobalAveragePooling1D', 'Softmax', 'TimeDistributed'];

/** Activations of tfjs, by the names that Keras has for them. */
const ACTIVATIONS: Readonly<Record<string, string>> = {
  elu: 'elu',
  gelu: 'gelu',
  hard_sigmoid: 'hardSigmoid',
  linear: 'linear',
  log_softmax: 'logSoftmax',
  mish: 'mish',
  relu: 'relu',
  relu6: 'relu6',
  selu: 'selu',
  sigmoid: 'sigmoid',
  silu: 'swish',
  softmax: 'softmax',
  softplus: 'softplus',
  softsign: 'softsign',
  swish: 'swish',
  tanh: 'tanh',
};

/** Initializers of tfjs, by other names that Keras has for them. */
const INITIALIZERS: Readonly<Record<string, string>> = {
  LecunNormal: 'LeCunNormal',
  LecunUniform: 'LeCunUniform',
  OrthogonalInitializer: 'Orthogonal',
  IdentityInitializer: 'Identity',
};
const OWN_INITIALIZERS = [
  ...['Constant', 'GlorotNormal', 'GlorotUniform', 'HeNormal', 'HeUniform', 'Identity', 'LeCunNormal', 'LeCunUniform'],
  ...['Ones', 'Orthogonal', 'RandomNormal', 'RandomUniform', 'TruncatedNormal', 'VarianceScaling', 'Zeros'],
];
const CONSTRAINTS = ['MaxNorm', 'MinMaxNorm', 'NonNeg', 'UnitNorm'];

/** Whether tfjs has a layer of this name that computes what Keras's does. */
export function isStock(className: string | undefined): boolean {
  return className !== undefined && Object.hasOwn(STOCK, className);
}

/**
 * The config of a layer as tfjs reads it. What tfjs would leave out without a word becomes a fault.
 *
 * @param label how faults call the layer.
 */
export function layerConfig(
  {className, config}: KerasEntry,
  label: string,
  reading: Reading,
): tf.serialization.ConfigDict {
  for (const setting of settingsBeyond(STOCK[className] ?? {}, config)) {
    reading.faults.push(`${label}: tfjs has no ${setting}.`);
  }
  if (reading.isMasked && (HEED_MASKS.includes(className) || config.zero_output_for_mask === true)) {
    reading.faults.push(`${label} heeds the mask of mask_zero or Masking in Keras, and not in tfjs.`);
  }
  const unused = className === 'SeparableConv2D' ? UNUSED : [];
  const used = Object.entries(config).filter(([key]) => !unused.includes(key));
  const read = used.map(([key, value]): [string, unknown] => {
    if (key === 'dtype') {
      return ['dtype', dtypeOf(value, className, label, reading)];
    }
    if (key === 'batch_shape') {
      return ['batchInputShape', value];
    }
    if (key.endsWith('activation')) {
      return [camelCase(key), activation(key, value, label, reading)];
    }
    if (key.endsWith('_initializer')) {
      return [camelCase(key), initializer(value)];
    }
    if (key.endsWith('_regularizer')) {
      return [camelCase(key), regularizer(key, value, label, reading)];
    }
    if (key.endsWith('_constraint')) {
      return [camelCase(key), constraint(key, value, label, reading)];
    }
    return [camelCase(key), camelCased(value, key)];
  });
  const {name, ...rest} = Object.fromEntries(read);
  return {name, ...rest, ...changed(className, config, label, reading)} as tf.serialization.ConfigDict;
}

/** What tfjs spells in another way, or takes in another form. */
function changed(className: string, config: Json, label: string, {faults}: Reading): Json {
  const {axis, negative_slope: slope, scale, offset} = config;
  if (className === 'LeakyReLU' && slope !== undefined) {
    return {alpha: slope};
  }
  if (['BatchNormalization', 'Softmax'].includes(className) && Array.isArray(axis)) {
    if (axis.length !== 1) {
      faults.push(`${label}: tfjs has one axis, got ${brief(axis)}.`);
    }
    return {axis: axis[0] as unknown};
  }
  if (className === 'Rescaling' && (typeof scale !== 'number' || typeof offset !== 'number')) {
    faults.push(`${label}: tfjs has one number for scale and one for offset.`);
  }
  return {};
}

/** Weights are float32 in tfjs, and in Keras with policies that compute in half precision. */
function dtypeOf(value: unknown, className: string, label: string, {faults}: Reading): string {
  const policy = kerasEntry(value)?.config.name ?? value ?? 'float32';
  const isInput = className === 'InputLayer';
  const known = ['float32', 'mixed_float16', 'mixed_bfloat16', 'float16', 'bfloat16'];
  const ofInputs: Json = {int32: 'int32', int64: 'int32', uint8: 'int32', bool: 'bool'};
  if (typeof policy === 'string' && known.includes(policy)) {
    return 'float32';
  }
  if (isInput && typeof policy === 'string' && Object.hasOwn(ofInputs, policy)) {
    return ofInputs[policy] as string;
  }
  faults.push(`${label}: tfjs has no dtype ${brief(policy)}${isInput ? '' : ' for layers'}.`);
  return 'float32';
}

function activation(key: string, value: unknown, label: string, {isKeras3, faults}: Reading): unknown {
  if (value == null) {
    return value;
  }
  const known = typeof value === 'string' && Object.hasOwn(ACTIVATIONS, value) ? ACTIVATIONS[value] : undefined;
  if (known === undefined) {
    faults.push(`${label}: tfjs has no ${key} ${brief(kerasEntry(value)?.className ?? value)}.`);
  } else if (isKeras3 && value === 'hard_sigmoid') {
    faults.push(`${label}: hard_sigmoid of Keras 3 is relu6(x + 3) / 6, that of tfjs 0.2 x + 0.5.`);
  }
  return known;
}

/** All values come from the file, so that an initializer which tfjs does not have is no loss. */
function initializer(value: unknown): unknown {
  const {className, config} = kerasEntry(value) ?? {className: '', config: {}};
  const known = INITIALIZERS[className] ?? className;
  if (!OWN_INITIALIZERS.includes(known)) {
    return typeof value === 'string' || value == null ? camelCased(value) : {className: 'Zeros', config: {}};
  }
  return {className: known, config: camelCased(config)};
}

/** tfjs has one regularizer, with both numbers. */
function regularizer(key: string, value: unknown, label: string, {faults}: Reading): unknown {
  const entry = kerasEntry(value);
  const name = entry?.className.toLowerCase();
  if (value == null) {
    return null;
  }
  if (entry === undefined || name === undefined || !['l1', 'l2', 'l1l2'].includes(name)) {
    faults.push(`${label}: tfjs has no ${key} ${brief(entry?.className ?? value)}.`);
    return null;
  }
  const {l1, l2} = entry.config;
  return {className: 'L1L2', config: {l1: l1 ?? 0, l2: l2 ?? 0}};
}

function constraint(key: string, value: unknown, label: string, {faults}: Reading): unknown {
  const entry = kerasEntry(value);
  if (value == null) {
    return null;
  }
  if (entry === undefined || !CONSTRAINTS.includes(entry.className)) {
    faults.push(`${label}: tfjs has no ${key} ${brief(entry?.className ?? value)}.`);
    return null;
  }
  return {className: entry.className, config: camelCased(entry.config)};
}

/** What Keras 2 writes into a SeparableConv2D without any use, and tfjs refuses. */
const UNUSED = ['kernel_initializer', 'kernel_regularizer', 'kernel_constraint'];

/** Whether an object of a file of Keras 2 is, or has, what tfjs refuses and can be said as tfjs does. */
export function hasOtherForm(value: Json): boolean {
  const entry = kerasEntry(value);
  const isSeparable = entry?.className === 'SeparableConv2D' && UNUSED.some(key => entry.config[key] != null);
  const isOther = ([key, inner]: [string, unknown]) =>
    key.endsWith('_regularizer') && ['l1', 'l2'].includes(kerasEntry(inner)?.className.toLowerCase() ?? '');
  return isSeparable || entry?.className === 'MultiHeadAttention' || Object.entries(value).some(isOther);
}
