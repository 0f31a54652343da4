import {nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {Net, NetTensor} from '../net/net';
import type {Convolution} from './convolutions';

// Blocks of MobileNetV2 and MobileViT.

/** Adds a convolution with its normalization, and unless it is linear with an activation. */
export type Convolve = (
  name: string,
  channels: Convolution['channels'],
  args: Omit<Convolution, 'channels'> & {isLinear?: boolean},
  x: NetTensor,
) => NetTensor;

/** A depthwise convolution of `inner` channels between narrow features. */
export function invertedResidual(
  net: Net,
  name: string,
  {channels, inner, stride}: {channels: readonly [number, number]; inner: number; stride: number},
  convolve: Convolve,
  x: NetTensor,
): NetTensor {
  const [from, to] = channels;
  let y = convolve(nameOf(name, 'expand_1x1'), [from, inner], {size: 1}, x);
  y = convolve(nameOf(name, 'conv_3x3'), [inner, inner], {size: 3, stride, depthwise: true}, y);
  y = convolve(nameOf(name, 'reduce_1x1'), [inner, to], {size: 1, isLinear: true}, y);
  return stride === 1 && from === to ? net.add(nameOf(name, 'sum'), [x, y]) : y;
}

/** Refuses configs whose depthwise convolutions are dilated, as for DeepLab. */
export function expectDense(config: HubConfig, dilated: readonly number[]): void {
  const stride = config.count('output_stride', 32);
  if (dilated.includes(stride)) {
    config.fault(`output_stride ${stride} dilates convolutions, which is not supported. Supported: 32.`);
  }
}
