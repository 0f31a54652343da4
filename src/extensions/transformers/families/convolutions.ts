import * as tf from '@tensorflow/tfjs';
import {FeatureSequence, MaxPooling} from '../layers/featureMaps';
import {nameOf, type Purpose} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {ActivationName, Net, NetTensor} from '../net/net';

// Shared by families with convolutions. Images and features are `[batch, height, width, channels]`.

export interface Convolution {
  channels: readonly [from: number, to: number];
  size: number | readonly [height: number, width: number];
  /** Default: 1. */
  stride?: number | readonly [height: number, width: number];
  /**
   * How many zeros are added on each side; before and after each axis; or `'same'` for as many as TensorFlow adds.
   * Default: as many as keep the size with a stride of 1.
   */
  padding?: number | readonly [before: number, after: number] | 'same';
  /** Whether each channel has its own kernel. Default: false. */
  depthwise?: boolean;
  /** Default: true. */
  bias?: boolean;
  /** Starts from N(0, deviation) instead of a file. */
  fresh?: number | undefined;
}

/** Adds a stock convolution, after a layer that pads where tfjs pads in another way than PyTorch. */
export function convolution(net: Net, name: string, args: Convolution, x: NetTensor): NetTensor {
  const {channels, depthwise = false, bias = true, fresh} = args;
  const [from, to] = channels;
  const kernelSize = pairOf(args.size);
  const strides = pairOf(args.stride ?? 1);
  const {padding = Math.floor((kernelSize[0] - 1) / 2)} = args;
  const isSame =
    padding === 'same' ||
    (strides.every(stride => stride === 1) && kernelSize.every(size => size === 2 * Number(padding) + 1));
  const padded = isSame || padding === 0 ? x : zeroPadding(net, nameOf(name, 'padding'), padding, x);
  if (fresh !== undefined) {
    net.newBytes += 4 * from * to * kernelSize[0] * kernelSize[1];
  } else if (depthwise) {
    net.expect(name, 'weight', [to, 1, ...kernelSize], 'depthwise_kernel', {axes: [2, 3, 0, 1]});
  } else {
    net.expect(name, 'weight', [to, from, ...kernelSize], 'kernel', {axes: [2, 3, 1, 0]});
  }
  if (fresh === undefined && bias) {
    net.expect(name, 'bias', [to], 'bias');
  }
  const settings = {kernelSize, strides, padding: isSame ? 'same' : 'valid', useBias: bias, name} as const;
  const random = fresh === undefined ? {} : {kernelInitializer: tf.initializers.randomNormal({stddev: fresh})};
  return net.apply(
    name,
    [padded],
    () => (depthwise ? tf.layers.depthwiseConv2d(settings) : tf.layers.conv2d({...settings, ...random, filters: to})),
    fresh === undefined,
  );
}

function zeroPadding(net: Net, name: string, padding: number | readonly [number, number], x: NetTensor): NetTensor {
  const ofAxis = typeof padding === 'number' ? padding : ([...padding] as [number, number]);
  return net.apply(name, [x], () =>
    tf.layers.zeroPadding2d({padding: typeof ofAxis === 'number' ? ofAxis : [ofAxis, ofAxis], name}),
  );
}

/** Adds a BatchNormalization. Adapted models use its stored statistics, unless it is new. */
export function batchNorm(
  net: Net,
  name: string,
  {width, epsilon, isNew = false}: {width: number; epsilon: number; isNew?: boolean},
  x: NetTensor,
): NetTensor {
  if (!isNew) {
    BATCH_NORM.forEach(([torchName, weight]) => net.expect(name, torchName, [width], weight));
  }
  return net.apply(name, [x], () => tf.layers.batchNormalization({epsilon, momentum: 0.9, name}), !isNew);
}

const BATCH_NORM = [
  ['weight', 'gamma'],
  ['bias', 'beta'],
  ['running_mean', 'moving_mean'],
  ['running_var', 'moving_variance'],
] as const;

type BlockNames = readonly [convolution: string, normalization: string, activation: string];

/** Adds a convolution without bias, its normalization and an activation, if there is one. */
export function convolvedBlock(
  net: Net,
  name: string | BlockNames,
  {activation, epsilon = 1e-5, ...args}: Convolution & {activation?: ActivationName | undefined; epsilon?: number},
  x: NetTensor,
): NetTensor {
  const parts = ['convolution', 'normalization', 'activation'].map(module => nameOf(String(name), module));
  const names = typeof name === 'string' ? (parts as unknown as BlockNames) : name;
  const convolved = convolution(net, names[0], {...args, bias: false}, x);
  const isNew = args.fresh !== undefined;
  const normal = batchNorm(net, names[1], {width: args.channels[1], epsilon, isNew}, convolved);
  return activation === undefined ? normal : net.activation(names[2], activation, normal);
}

export function maxPool(
  net: Net,
  name: string,
  args: {size: number; stride: number; padding: number},
  x: NetTensor,
): NetTensor {
  return net.apply(name, [x], () => new MaxPooling({...args, name}));
}

/** The positions of features as a sequence, `[batch, height·width, channels]`. */
export function asSequence(net: Net, name: string, x: NetTensor): NetTensor {
  return net.apply(name, [x], () => new FeatureSequence({name}));
}

/** The mean of all positions of features, `[batch, channels]`. */
export function meanOfPositions(net: Net, name: string, x: NetTensor): NetTensor {
  return net.apply(name, [x], () => tf.layers.globalAveragePooling2d({name}));
}

/** The linear head of a model for images. */
interface FeatureHead {
  /** Default: `classifier`. */
  classifier?: string;
  /** The number of channels of the features. */
  width: number;
  /** A new head starts from N(0, deviation). Default: that of the config. */
  deviation?: () => number;
  /** The pooler of the model. Default: the mean of all positions. */
  pooled?: typeof meanOfPositions;
}

/** The output of a model: the logits of its head, or its last features, pooled as `pooling` says. */
export function featureOutput(
  net: Net,
  config: HubConfig,
  {head, pooling, labels, isNew}: Purpose,
  {classifier = 'classifier', width, deviation, pooled = meanOfPositions}: FeatureHead,
  x: NetTensor,
): NetTensor {
  if (head === 'classes') {
    const start = isNew ? {fresh: deviation?.() ?? config.number('initializer_range', 0.02, 1)} : {};
    return net.dense(classifier, [width, labels], pooled(net, 'classifier/mean', x), start);
  }
  switch (pooling) {
    case 'none':
      return x;
    case 'mean':
      return meanOfPositions(net, 'pooling', x);
    case 'pooler':
      return pooled(net, 'pooling', x);
    case 'first':
    case 'last':
      return noSequence(config, x);
  }
}

export function stagesOf(
  config: HubConfig,
  widths: string,
  defaults: {depths: readonly number[]; widths: readonly number[]},
): {depth: number; width: number}[] {
  const depths = config.counts('depths', defaults.depths);
  const all = config.counts(widths, defaults.widths);
  if (depths.length !== all.length) {
    config.fault(`${widths} must have as many entries as depths, ${depths.length}, got ${all.length}.`);
  }
  return depths.map((depth, i) => ({depth, width: all[i] ?? 1}));
}

/** How many blocks all stages have. */
export function blocksOf(config: HubConfig, otherwise: readonly number[]): number {
  return config.counts('depths', otherwise).reduce((sum, depth) => sum + depth, 0);
}

/** Refuses poolings of sequences for features without a token of the class. */
export function noSequence(config: HubConfig, x: NetTensor): NetTensor {
  config.fault("The model has no class token. Choose another pooling: 'mean' or 'pooler'.");
  return x;
}

function pairOf(size: number | readonly [number, number]): [number, number] {
  return typeof size === 'number' ? [size, size] : [...size];
}
