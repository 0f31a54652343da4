import * as tf from '@tensorflow/tfjs';
import {TimePadding} from '../layers/timePadding';
import {nameOf} from '../net/architecture';
import type {Net, NetTensor} from '../net/net';

export interface TimeConvolution {
  channels: readonly [from: number, to: number];
  size: number;
  /** Default: 1. */
  stride?: number;
  /** How many zeros are added on each side. Default: 0. */
  padding?: number;
  /** Default: true. */
  bias?: boolean;
}

/** Adds a stock convolution over the positions of `[batch, positions, channels]`, after a layer that pads if needed. */
export function timeConvolution(
  net: Net,
  name: string,
  {channels, size, stride = 1, padding = 0, bias = true}: TimeConvolution,
  x: NetTensor,
): NetTensor {
  const [from, to] = channels;
  const isSame = stride === 1 && size === 2 * padding + 1;
  const padded = isSame || padding === 0 ? x : padTime(net, nameOf(name, 'padding'), [padding, padding], x);
  net.expect(name, 'weight', [to, from, size], 'kernel', {axes: [2, 1, 0]});
  if (bias) {
    net.expect(name, 'bias', [to], 'bias');
  }
  const settings = {filters: to, kernelSize: size, strides: stride, useBias: bias, name};
  return net.apply(name, [padded], () => tf.layers.conv1d({...settings, padding: isSame ? 'same' : 'valid'}));
}

/** Adds zeros before and after a sequence. */
export function padTime(
  net: Net,
  name: string,
  [before, after]: [before: number, after: number],
  x: NetTensor,
): NetTensor {
  return net.apply(name, [x], () => new TimePadding({before, after, name}));
}
