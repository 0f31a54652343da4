import {type Architecture, HUB_ACTIVATIONS, nameOf, OF_IMAGES} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {Net} from '../net/net';
import {roundToEven} from '../ops/rounding';
import {convolvedBlock, featureOutput} from './convolutions';
import {type Convolve, expectDense, invertedResidual} from './invertedResidual';
import {divisible} from './roundedSizes';

/** MobileNetV2: depthwise convolutions between narrow features. (Sandler et al., arXiv 1801.04381.) */
export const mobilenetV2: Architecture = {
  prefix: 'mobilenet_v2',
  classes: {MobileNetV2Model: 'none', MobileNetV2ForImageClassification: 'classes'},
  ...OF_IMAGES,
  blocks: () => STRIDES.length + 1,
  build: (net, config, {pixels}, purpose) => {
    const root = purpose.head === 'none' ? '' : 'mobilenet_v2';
    const multiplier = config.number('depth_multiplier', 1);
    const roundedOf = roundingOf(config);
    const widthOf = (channels: number) => roundedOf(channels * multiplier);
    const ratio = config.number('expand_ratio', 6);
    expectDense(config, [2, 4, 8, 16]);
    const block = blockOf(net, config);
    const stem = nameOf(root, 'conv_stem');
    const wide = widthOf(32);
    const widths = CHANNELS.map(widthOf);
    let x = block(nameOf(stem, 'first_conv'), [config.count('num_channels', 3), wide], {size: 3, stride: 2}, pixels);
    if (!config.flag('first_layer_is_expansion', true)) {
      x = block(nameOf(stem, 'expand_1x1'), [wide, wide], {size: 1}, x);
    }
    x = block(nameOf(stem, 'conv_3x3'), [wide, wide], {size: 3, depthwise: true}, x);
    x = block(nameOf(stem, 'reduce_1x1'), [wide, widths[0] ?? 1], {size: 1, isLinear: true}, x);
    x = net.blocks(nameOf(root, 'layer'), STRIDES.length, [x], (layer, [features = null], i) => {
      const channels = [widths[i] ?? 1, widths[i + 1] ?? 1] as const;
      const sizes = {channels, inner: roundedOf(channels[0] * ratio), stride: STRIDES[i] ?? 1};
      return invertedResidual(net, layer, sizes, block, features);
    });
    const isWide = config.flag('finegrained_output', true) && multiplier < 1;
    const width = isWide ? LAST : widthOf(LAST);
    x = block(nameOf(root, 'conv_1x1'), [widths.at(-1) ?? 1, width], {size: 1}, x);
    return featureOutput(net, config, purpose, {width}, x);
  },
};

const CHANNELS = [16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320];
const STRIDES = [2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1];
/** The channels of the last convolution. */
const LAST = 1280;

function roundingOf(config: HubConfig): (width: number) => number {
  const divisor = config.count('depth_divisible_by', 8);
  const least = config.count('min_depth', 8);
  return width => divisible(roundToEven(width), divisor, least);
}

/** Adds convolutions with normalizations and activations, padded as the config says. */
function blockOf(net: Net, config: HubConfig): Convolve {
  const activation = config.choice('hidden_act', HUB_ACTIVATIONS, 'relu6');
  const epsilon = config.number('layer_norm_eps', 1e-3);
  const padding = config.flag('tf_padding', true) ? ({padding: 'same'} as const) : {};
  return (name, channels, {isLinear = false, ...args}, x) =>
    convolvedBlock(net, name, {channels, epsilon, ...padding, ...args, ...(!isLinear && {activation})}, x);
}
