import {PatchSequence} from '../layers/patchSequence';
import type {Net, NetTensor} from '../net/net';
import {convolution} from './convolutions';

/** Cuts images into patches, which overlap if strides are smaller, and projects each to `width` values. */
export function patches(
  net: Net,
  name: string,
  {channels, width, size, strides = size, bias = true}: PatchProjection,
  x: NetTensor,
): NetTensor {
  return convolution(net, name, {channels: [channels, width], size, stride: strides, padding: 0, bias}, x);
}

interface PatchProjection {
  channels: number;
  width: number;
  size: [number, number];
  strides?: [number, number];
  bias?: boolean;
}

/** What a sequence of patches consists of. Names are those of tensors in the module. */
interface Sequence extends Pick<ConstructorParameters<typeof PatchSequence>[0], 'grid' | 'antialias'> {
  width: number;
  /** The tokens before the patches. */
  tokens: readonly string[];
  registers?: {name: string; count: number} | undefined;
  /** The position embedding of tokens and patches, if there is one. */
  positions?: string | undefined;
  /** Whether tensors have no axis for the batch. Default: false. */
  isFlat?: boolean;
}

/** Makes a sequence of patches. */
export function patchSequence(
  net: Net,
  name: string,
  {width, tokens, registers, positions, isFlat = false, ...settings}: Sequence,
  x: NetTensor,
): NetTensor {
  const rows = (count: number) => (isFlat ? [count, width] : [1, count, width]);
  tokens.forEach((token, i) => net.expect(name, token, isFlat ? [width] : rows(1), `token_${i}`));
  if (registers !== undefined) {
    net.expect(name, registers.name, rows(registers.count), 'registers');
  }
  if (positions !== undefined) {
    const [down, across] = settings.grid;
    net.expect(name, positions, rows(tokens.length + Math.max(down, 1) * Math.max(across, 1)), 'positions');
  }
  const counts = {tokens: tokens.length, registers: registers?.count ?? 0, positioned: positions !== undefined};
  return net.apply(name, [x], () => new PatchSequence({...settings, ...counts, name}));
}
