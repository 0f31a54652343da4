import * as tf from '@tensorflow/tfjs';
import {PatchSequence} from '../layers/patchSequence';
import type {InFile, Net, NetTensor} from '../net/net';

/** Cuts images into patches, which overlap if strides are smaller, and projects each to `width` values. */
export function patches(
  net: Net,
  name: string,
  {
    channels,
    width,
    size,
    strides = size,
    bias = true,
  }: {channels: number; width: number; size: [number, number]; strides?: [number, number]; bias?: boolean},
  x: NetTensor,
): NetTensor {
  net.expect(name, 'weight', [width, channels, ...size], 'kernel', {axes: [2, 3, 1, 0]});
  if (bias) {
    net.expect(name, 'bias', [width], 'bias');
  }
  const settings = {filters: width, kernelSize: size, strides, useBias: bias, name};
  return net.apply(name, [x], () => tf.layers.conv2d({...settings, padding: 'valid'}));
}

/**
 * Makes a sequence of patches. `tokens` are the file names and shapes of the tokens before it, `positions` those of the
 * position embedding, if there is one.
 */
export function patchSequence(
  net: Net,
  name: string,
  {
    tokens,
    registers,
    positions,
    ...settings
  }: Pick<ConstructorParameters<typeof PatchSequence>[0], 'grid' | 'antialias'> & {
    tokens: readonly InFile[];
    registers?: InFile | undefined;
    positions?: InFile | undefined;
  },
  x: NetTensor,
): NetTensor {
  tokens.forEach((token, i) => net.expect(name, ...token, `token_${i}`));
  if (registers !== undefined) {
    net.expect(name, ...registers, 'registers');
  }
  if (positions !== undefined) {
    net.expect(name, ...positions, 'positions');
  }
  const counts = {tokens: tokens.length, registers: registers?.[1].at(-2) ?? 0, positioned: positions !== undefined};
  return net.apply(name, [x], () => new PatchSequence({...settings, ...counts, name}));
}
