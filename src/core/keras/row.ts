import {brief} from '../../platform/errors';
import type {Json} from './json';
import {OWN_CLASSES} from './kerasLayer';
import type {KerasLayerArgs} from './layerOperation';

/** The only values of a setting that tfjs computes; a missing or null setting is always right. */
export type Fixed = Readonly<Record<string, readonly unknown[]>>;

/** How a layer of Keras is read. */
export interface Row {
  /** Keys of which every value is supported, or which do not change predictions; `undefined` for all. */
  keys: string | undefined;
  /** Further keys, and the values that are supported. */
  fixed?: Fixed;
  /** The class and settings that replace it, from its config as tfjs spells it. A string is a fault. */
  as?(config: Json, reading: {isMasked: boolean; isKeras3: boolean}): Place | string | undefined;
  /** Whether it does something in training that the library omits. */
  isIdle?: boolean;
}

/** What replaces a layer of Keras: another class, further settings, or both. */
export interface Place {
  className?: string;
  config?: Json;
  alone?: Json;
  /** What `KerasLayer`s compute before it and after it. */
  before?: readonly KerasLayerArgs[];
  after?: readonly KerasLayerArgs[];
}

/** Keys of every layer. */
const COMMON =
  /^(name|trainable|dtype|batch_(input_)?shape|activity_regularizer|\w+_(initializer|regularizer|constraint))$/;

/** The settings of a config that are not among these, as faults show them. */
export function settingsBeyond(fixed: Fixed, config: Json): string[] {
  const isBeyond = ([key, values]: [string, readonly unknown[]]) =>
    [config[key]].flat().some(value => value != null && !values.includes(value));
  return Object.entries(fixed).flatMap(pair => (isBeyond(pair) ? [`${pair[0]}=${brief(config[pair[0]])}`] : []));
}

/** The settings of a config that a row does not name or allow. */
export function settingsBeyondRow({keys, fixed = {}}: Row, config: Json): string[] {
  const named = keys === undefined ? Object.keys(config) : [...keys.split(' '), ...Object.keys(fixed)];
  const unreadKeys = Object.keys(config).filter(key => !named.includes(key) && !COMMON.test(key));
  return settingsBeyond({...fixed, ...Object.fromEntries(unreadKeys.map(key => [key, []]))}, config);
}

/** What a `KerasLayer` computes in place of a layer. */
export function byKerasLayer(
  args: Partial<Record<keyof KerasLayerArgs, unknown>>,
  className = OWN_CLASSES.kerasLayer,
): Place {
  // A file would hold null for an unset one.
  const set = Object.entries(args).filter(([, value]) => value != null);
  return {className, alone: Object.fromEntries(set)};
}

/** Exchanges the first and the last axis of steps: for layers of tfjs that take channels last only. */
export const TURNED: KerasLayerArgs = {computes: 'transpose', order: [0, 2, 1]};

/** What a layer in one axis needs that is computed with channels last, in two axes of which the first has one row. */
export function aroundSteps(
  {padding, dataFormat, kernelSize, dilationRate}: Json,
  isRow: boolean,
): {before: KerasLayerArgs[]; after: KerasLayerArgs[]} {
  const isFirst = dataFormat === 'channelsFirst';
  const [size, rate] = [kernelSize, dilationRate].map(value => Number([value].flat()[0] ?? 1)) as [number, number];
  const margins: [number, number][] = [
    [0, 0],
    [(size - 1) * rate, 0],
    [0, 0],
  ];
  return {
    before: [
      ...(isFirst ? [TURNED] : []),
      ...(padding === 'causal' ? [{computes: 'margins', margins}] : []),
      ...(isRow ? [{computes: 'expand'}] : []),
    ],
    after: [...(isRow ? [{computes: 'squeeze'}] : []), ...(isFirst ? [TURNED] : [])],
  };
}

/** Settings of a convolution that is computed with channels last, and whose padding is added before. */
export function plainSteps({padding}: Json): Json {
  return {dataFormat: 'channelsLast', padding: padding === 'causal' ? 'valid' : padding};
}

/** A convolution with groups; `undefined` if tfjs computes it. */
export function convolved({
  filters,
  kernelSize,
  strides,
  dilationRate,
  padding,
  groups,
  ...commonSettings
}: Json): Place | undefined {
  const {dataFormat, useBias, activation} = commonSettings;
  const sizes = {filters, kernelSize, strides, dilationRate, padding, groups};
  return (groups ?? 1) === 1
    ? undefined
    : byKerasLayer({computes: 'convolution', ...sizes, dataFormat, useBias, activation}, OWN_CLASSES.convolution);
}

/** Whether tfjs computes a transposed convolution. */
export function isPlainTransposed({outputPadding, dilationRate}: Json): boolean {
  return outputPadding == null && [dilationRate].flat().every(rate => (rate ?? 1) === 1);
}

export function transposedConvolution({kernelSize, outputPadding, ...config}: Json): Place {
  const {filters, strides, dilationRate, padding, dataFormat, useBias, activation} = config;
  const axes = [kernelSize].flat().map(() => null);
  const sizes = {filters, kernelSize, strides, dilationRate, padding, outputPadding: outputPadding ?? axes};
  return byKerasLayer({computes: 'convolution', ...sizes, dataFormat, useBias, activation}, OWN_CLASSES.convolution);
}

/** The settings of a convolution in one axis for two axes, of which the first has one row. */
export function inRow({kernelSize, strides, dilationRate}: Json): Json {
  const [size, stride, rate] = [kernelSize, strides, dilationRate].map(value => [value].flat()[0] ?? 1);
  return {kernelSize: [1, size], strides: [stride, stride], dilationRate: [1, rate]};
}

/** A layer that returns its inputs. */
export const IDENTITY: Row = {
  keys: undefined,
  isIdle: true,
  as: () => ({className: 'Activation', alone: {activation: 'linear'}}),
};
