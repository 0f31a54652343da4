import * as tf from '@tensorflow/tfjs';
import {show} from '../../../platform/errors';
import {type Architecture, HUB_ACTIVATIONS, nameOf, OF_IMAGES} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {ActivationName, Net, NetTensor} from '../net/net';
import {convolution, convolvedBlock, featureOutput} from './convolutions';
import {divisible} from './roundedSizes';

/** EfficientNet: depthwise convolutions whose channels are weighted by all positions. (Tan, Le, arXiv 1905.11946.) */
export const efficientnet: Architecture = {
  prefix: 'efficientnet',
  classes: {EfficientNetModel: 'none', EfficientNetForImageClassification: 'classes'},
  ...OF_IMAGES,
  blocks: config => stagesOf(config).reduce((sum, {depth}) => sum + depth, 0),
  build: (net, config, {pixels}, purpose) => {
    const root = purpose.head === 'none' ? '' : 'efficientnet';
    const shared = {
      epsilon: config.number('batch_norm_eps', 1e-3),
      activation: config.choice('hidden_act', HUB_ACTIVATIONS, 'swish'),
    };
    const widthOf = roundingOf(config);
    const ratio = config.number('squeeze_expansion_ratio', 0.25);
    const unadjusted = unadjustedOf(config);
    const embeddings = nameOf(root, 'embeddings');
    let from = widthOf(32);
    const stem = {channels: [config.count('num_channels', 3), from], size: 3, stride: 2, padding: [0, 1]} as const;
    let x = convolvedBlock(net, namesIn(embeddings, 'convolution', 'batchnorm'), {...stem, ...shared}, pixels);
    const stages = stagesOf(config);
    const count = stages.reduce((sum, {depth}) => sum + depth, 0);
    let [index, number] = [0, 1];
    for (const {depth, channels, stride, size, expansion} of stages) {
      const [first, to] = channels.map(widthOf) as [number, number];
      if (first !== from) {
        config.fault(`in_channels must be the channels of the stage before, ${from}, got ${first}.`);
      }
      for (let i = 0; i < depth; i++) {
        const layer = nameOf(root, 'encoder/blocks', index);
        const blockSizes: Sizes = {
          ...shared,
          channels: [i === 0 ? first : to, to],
          ...{size, expansion, stride: i === 0 ? stride : 1, isResidual: i > 0},
          // More zeros after than before, as TensorFlow pads even sizes.
          before: Math.floor(size / 2) - (unadjusted.includes(index) ? 0 : 1),
          squeezed: Math.max(1, Math.trunc((i === 0 ? first : to) * ratio)),
        };
        x = net.block({name: `${layer}/block`, index, count}, [x], ([input = null]) =>
          efficientBlock(net, layer, blockSizes, input),
        );
        index++;
      }
      from = to;
      net.stage(number, x);
      number++;
    }
    const width = widthOf(1280);
    const stated = config.count('hidden_dim', 2560);
    if (stated !== width) {
      config.fault(`hidden_dim must be the channels of the last convolution, ${width}, got ${stated}.`);
    }
    const top = namesIn(nameOf(root, 'encoder'), 'top_conv', 'top_bn');
    x = convolvedBlock(net, top, {channels: [from, width], size: 1, ...shared}, x);
    const isMax = config.choice('pooling_type', {mean: false, max: true}, 'mean');
    const pooled = (_: Net, name: string, features: NetTensor) =>
      net.apply(name, [features], () => tf.layers.globalMaxPooling2d({name}));
    return featureOutput(net, config, purpose, {width, ...(isMax && {pooled})}, x);
  },
};

function namesIn(root: string, ...[convolution, normalization]: [string, string]): [string, string, string] {
  return [nameOf(root, convolution), nameOf(root, normalization), nameOf(root, `${convolution}/activation`)];
}

/** Blocks of equal sizes; the first has the stride. */
interface Stage {
  depth: number;
  channels: [from: number, to: number];
  stride: number;
  /** The edge of the depthwise kernels. */
  size: number;
  /** How many times more channels are within a block. */
  expansion: number;
}

function stagesOf(config: HubConfig): Stage[] {
  const fields = Object.entries(STAGES).map(([name, otherwise]) => config.counts(name, otherwise));
  const coefficient = config.number('depth_coefficient', 3.1);
  const [depths = [], ...stageFields] = fields;
  const wrong = Object.keys(STAGES).find((_, i) => fields[i]?.length !== depths.length);
  if (wrong !== undefined) {
    config.fault(`${wrong} must have as many entries as num_block_repeats, ${depths.length}.`);
  }
  return depths.map((repeats, i) => {
    const [from = 1, to = 1, stride = 1, size = 3, expansion = 1] = stageFields.map(stageValues => stageValues[i]);
    if (stride > 2 || (stride === 2 && size === 1)) {
      config.fault(`strides must be 1 or 2, and 1 for kernels of 1, got ${stride} for one of ${size}.`);
    }
    return {depth: Math.ceil(coefficient * repeats), channels: [from, to], stride, size, expansion};
  });
}

const STAGES = {
  num_block_repeats: [1, 2, 2, 3, 3, 4, 1],
  in_channels: [32, 16, 24, 40, 80, 112, 192],
  out_channels: [16, 24, 40, 80, 112, 192, 320],
  strides: [1, 2, 2, 2, 1, 2, 1],
  kernel_sizes: [3, 3, 5, 3, 5, 5, 3],
  expand_ratios: [1, 6, 6, 6, 6, 6, 6],
};

function roundingOf(config: HubConfig): (width: number) => number {
  const coefficient = config.number('width_coefficient', 2);
  const divisor = config.count('depth_divisor', 8);
  return width => divisible(width * coefficient, divisor);
}

/** The numbers of the blocks that pad as many zeros before as after. */
function unadjustedOf(config: HubConfig): readonly unknown[] {
  const indices = config.get('depthwise_padding');
  const isList = Array.isArray(indices) && indices.every(index => Number.isInteger(index));
  if (indices !== undefined && !isList) {
    config.fault(`depthwise_padding must be a list of integers, got ${show(indices)}.`);
  }
  return isList ? indices : [];
}

interface Sizes extends Pick<Stage, 'channels' | 'stride' | 'size' | 'expansion'> {
  epsilon: number;
  activation: ActivationName;
  isResidual: boolean;
  /** The zeros before the edges of features that are made smaller. */
  before: number;
  /** The channels that weights of channels are computed from. */
  squeezed: number;
}

function efficientBlock(net: Net, layer: string, sizes: Sizes, input: NetTensor): NetTensor {
  const {channels, stride, size, expansion, before, isResidual, epsilon, activation} = sizes;
  const [from, to] = channels;
  const wide = from * expansion;
  let x = input;
  if (expansion !== 1) {
    const names = namesIn(nameOf(layer, 'expansion'), 'expand_conv', 'expand_bn');
    x = convolvedBlock(net, names, {channels: [from, wide], size: 1, epsilon, activation}, x);
  }
  const depthwise = {
    ...{channels: [wide, wide] as const, size, stride, depthwise: true, epsilon, activation},
    padding: stride === 2 ? ([before, Math.floor(size / 2)] as const) : ('same' as const),
  };
  x = convolvedBlock(net, namesIn(nameOf(layer, 'depthwise_conv'), 'depthwise_conv', 'depthwise_norm'), depthwise, x);
  x = excited(net, nameOf(layer, 'squeeze_excite'), {wide, ...sizes}, x);
  const names = namesIn(nameOf(layer, 'projection'), 'project_conv', 'project_bn');
  x = convolvedBlock(net, names, {channels: [wide, to], size: 1, epsilon}, x);
  return isResidual ? net.add(nameOf(layer, 'sum'), [input, x]) : x;
}

/** Multiplies each channel by a weight that is computed from the means of all channels. */
function excited(
  net: Net,
  name: string,
  {wide, squeezed, activation}: Pick<Sizes, 'squeezed' | 'activation'> & {wide: number},
  x: NetTensor,
): NetTensor {
  const means = net.apply(nameOf(name, 'squeeze'), [x], () =>
    tf.layers.globalAveragePooling2d({name: nameOf(name, 'squeeze')}),
  );
  const image = net.apply(nameOf(name, 'image'), [means], () =>
    tf.layers.reshape({targetShape: [1, 1, wide], name: nameOf(name, 'image')}),
  );
  const narrow = convolution(net, nameOf(name, 'reduce'), {channels: [wide, squeezed], size: 1}, image);
  const active = net.activation(nameOf(name, 'act_reduce'), activation, narrow);
  const weights = convolution(net, nameOf(name, 'expand'), {channels: [squeezed, wide], size: 1}, active);
  const shares = net.activation(nameOf(name, 'act_expand'), 'sigmoid', weights);
  return net.apply(nameOf(name, 'product'), [x, shares], () => tf.layers.multiply({name: nameOf(name, 'product')}));
}
