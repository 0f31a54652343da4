import type * as tf from '@tensorflow/tfjs';
import {brief} from '../../platform/errors';
import type {LayerEntry} from '../../platform/tfjs/configs';
import {camelCase, camelCased, type Json, kerasEntry, type KerasEntry} from './json';
import {ownActivation} from './kerasLayer';
import type {KerasLayerArgs} from './layerOperation';
import {rowOf} from './layerTable';
import {settingsBeyondRow} from './row';

export interface Reading {
  /** Whether Keras 3 wrote it. */
  isKeras3: boolean;
  /** Whether a layer in it masks positions (`mask_zero`, `Masking`). */
  isMasked: boolean;
  /** What cannot be read, one line each. */
  faults: string[];
  /** What is read, but behaves differently in training. */
  warnings: string[];
}

/** Activations of tfjs, by their names in Keras where these differ. */
const ACTIVATIONS: Readonly<Record<string, string>> = {silu: 'swish', hard_swish: 'hard_silu'};
const OWN_ACTIVATIONS = ['exponential', 'hard_silu', 'leaky_relu'];
const STOCK_ACTIVATIONS = [
  ...['elu', 'gelu', 'hard_sigmoid', 'linear', 'log_softmax', 'mish', 'relu', 'relu6', 'selu', 'sigmoid'],
  ...['softmax', 'softplus', 'softsign', 'swish', 'tanh'],
];

/** Initializers of tfjs, by their other names in Keras. */
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

/** A layer in the spelling of tfjs, and what `KerasLayer`s compute before and after it. */
export interface ReadEntry extends LayerEntry {
  before: readonly KerasLayerArgs[];
  after: readonly KerasLayerArgs[];
}

/**
 * Reads a layer in the spelling of tfjs. Settings that tfjs would silently ignore become faults.
 *
 * @param label how faults call the layer.
 */
export function layerEntry({className, config}: KerasEntry, label: string, reading: Reading): ReadEntry {
  const row = rowOf(className);
  for (const setting of row === undefined ? [] : settingsBeyondRow(row, config)) {
    reading.faults.push(`${label}: tfjs has no ${setting}.`);
  }
  if (reading.isMasked && (className === 'Softmax' || config.zero_output_for_mask === true)) {
    reading.faults.push(`${label} uses the mask of mask_zero or Masking in Keras, but not in tfjs.`);
  }
  if (row?.isIdle === true) {
    reading.warnings.push(`${label} returns its inputs unchanged.`);
  }
  if (config.activity_regularizer != null) {
    reading.warnings.push(`${label} has no activity_regularizer.`);
  }
  const unused = className.startsWith('Separable') ? UNUSED : ['activity_regularizer'];
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
  const layerConfig = Object.fromEntries(read) as tf.serialization.ConfigDict;
  const place = row?.as?.(layerConfig, reading);
  if (typeof place === 'string') {
    reading.faults.push(`${label}: ${place}`);
    return {className, config: layerConfig, before: [], after: []};
  }
  const ofEach = Object.entries(layerConfig).filter(
    ([key, value]) => value != null && /^(name|trainable|dtype|batchInputShape|.*(Regularizer|Constraint))$/.test(key),
  );
  const inheritedConfig = place?.alone === undefined ? layerConfig : Object.fromEntries(ofEach);
  const settings = {...inheritedConfig, ...(place?.alone ?? place?.config)} as tf.serialization.ConfigDict;
  const {before = [], after = []} = place ?? {};
  return {className: place?.className ?? className, config: settings, before, after};
}

/** Weights are float32 in tfjs, and in Keras with policies that compute in half precision. */
function dtypeOf(value: unknown, className: string, label: string, {faults}: Reading): string {
  const policy = kerasEntry(value)?.config.name ?? value ?? 'float32';
  const isInput = className === 'InputLayer';
  const dtypes = ['float32', 'mixed_float16', 'mixed_bfloat16', 'float16', 'bfloat16'];
  const ofInputs: Json = {int32: 'int32', int64: 'int32', uint8: 'int32', bool: 'bool'};
  if (typeof policy === 'string' && dtypes.includes(policy)) {
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
  const name = typeof value === 'string' && Object.hasOwn(ACTIVATIONS, value) ? ACTIVATIONS[value] : value;
  if (isKeras3 && name === 'hard_sigmoid') {
    return ownActivation('relu6Sigmoid'); // that of Keras 2, which tfjs has, is 0.2 x + 0.5
  }
  if (OWN_ACTIVATIONS.includes(name as string)) {
    return ownActivation(camelCase(name as string));
  }
  if (!STOCK_ACTIVATIONS.includes(name as string)) {
    faults.push(`${label}: tfjs has no ${key} ${brief(kerasEntry(value)?.className ?? value)}.`);
  }
  return camelCased(name);
}

/** All values come from the file, so a missing initializer is no loss. */
function initializer(value: unknown): unknown {
  const {className, config} = kerasEntry(value) ?? {className: '', config: {}};
  const tfjsName = INITIALIZERS[className] ?? className;
  if (!OWN_INITIALIZERS.includes(tfjsName)) {
    return typeof value === 'string' || value == null ? camelCased(value) : {className: 'Zeros', config: {}};
  }
  return {className: tfjsName, config: camelCased(config)};
}

/** tfjs has one regularizer, for both factors. */
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

/** A setting of SeparableConv2D that Keras 2 writes without using it, and tfjs refuses. */
const UNUSED = ['activity_regularizer', 'kernel_initializer', 'kernel_regularizer', 'kernel_constraint'];
