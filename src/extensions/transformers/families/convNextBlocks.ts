import {GlobalResponseNormalization} from '../layers/featureMaps';
import {nameOf} from '../net/architecture';
import type {ActivationName, Net, NetTensor} from '../net/net';
import {convolution} from './convolutions';
import {layerScale} from './patchBlocks';

// Blocks of ConvNeXt, which several families have under other names.

/** The names of the modules of a block. */
export interface ConvNextNames {
  depthwise: string;
  norm: string;
  pointwise: [string, string];
  activation: string;
  /** The tensor of the layer scale, if there is one. */
  scale?: string | undefined;
  /** The response normalization between the pointwise layers, if there is one. */
  response?: string;
}

export interface ConvNextSizes {
  width: number;
  epsilon: number;
  activation: ActivationName;
}

/** Equal blocks: a depthwise convolution, then two dense layers at each position. */
export function convNextBlocks(
  net: Net,
  root: string,
  count: number,
  sizes: ConvNextSizes,
  names: ConvNextNames,
  x: NetTensor,
): NetTensor {
  return net.blocks(root, count, [x], (layer, [input = null]) => convNextBlock(net, layer, sizes, names, input));
}

function convNextBlock(
  net: Net,
  layer: string,
  {width, epsilon, activation}: ConvNextSizes,
  names: ConvNextNames,
  input: NetTensor,
): NetTensor {
  const depthwise = {channels: [width, width], size: 7, depthwise: true} as const;
  let x = convolution(net, nameOf(layer, names.depthwise), depthwise, input);
  x = net.layerNorm(nameOf(layer, names.norm), width, epsilon, [x]);
  x = net.dense(nameOf(layer, names.pointwise[0]), [width, 4 * width], x);
  x = net.activation(nameOf(layer, names.activation), activation, x);
  if (names.response !== undefined) {
    x = responseNorm(net, nameOf(layer, names.response), 4 * width, x);
  }
  x = net.dense(nameOf(layer, names.pointwise[1]), [4 * width, width], x);
  if (names.scale !== undefined) {
    x = layerScale(net, nameOf(layer, names.scale), width, x, '');
  }
  return net.add(nameOf(layer, 'sum'), [input, x]);
}

function responseNorm(net: Net, name: string, width: number, x: NetTensor): NetTensor {
  net.expect(name, 'weight', [1, 1, 1, width], 'gamma');
  net.expect(name, 'bias', [1, 1, 1, width], 'beta');
  return net.apply(name, [x], () => new GlobalResponseNormalization({name}));
}
