import {JoinedPixels, PatchPixels} from '../layers/patchPixels';
import {type Architecture, HUB_ACTIVATIONS, nameOf, OF_IMAGES} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {ActivationName, Net, NetTensor} from '../net/net';
import {roundToEven} from '../ops/rounding';
import {convolution, convolvedBlock, featureOutput} from './convolutions';
import {type Convolve, expectDense, invertedResidual} from './invertedResidual';
import {VIT_NAMES} from './patchBlocks';
import {plainBlock} from './plainBlock';
import {divisible} from './roundedSizes';

/** MobileViT: convolutions, and attention between equal pixels of all patches. (Mehta, Rastegari, arXiv 2110.02178.) */
export const mobilevit: Architecture = {
  prefix: 'mobilevit',
  classes: {MobileViTModel: 'none', MobileViTForImageClassification: 'classes'},
  ...OF_IMAGES,
  blocks: () => RESIDUALS.length + DEPTHS.length,
  build: (net, config, {pixels}, purpose) => {
    const root = purpose.head === 'none' ? '' : 'mobilevit';
    const sizes = mobileVitSizes(config);
    const {neck, hidden, activation} = sizes;
    const convolve: Convolve = (name, channels, {isLinear = false, ...args}, x) =>
      convolvedBlock(net, name, {channels, ...args, ...(!isLinear && {activation})}, x);
    const ratio = config.number('expand_ratio', 4);
    const residual = (name: string, channels: [number, number], stride: number, x: NetTensor) => {
      const inner = divisible(roundToEven(channels[0] * ratio), 8);
      return invertedResidual(net, name, {channels, inner, stride}, convolve, x);
    };
    expectDense(config, [8, 16]);
    let [from = 1] = neck;
    let x = convolve(nameOf(root, 'conv_stem'), [config.count('num_channels', 3), from], {size: 3, stride: 2}, pixels);
    RESIDUALS.forEach(({stage, index, stride}) => {
      const to = neck[stage + 1] ?? 1;
      x = residual(nameOf(root, 'encoder/layer', stage, 'layer', index), [from, to], stride, x);
      from = to;
      net.stage(stage + 1, x);
    });
    DEPTHS.forEach((depth, i) => {
      const to = neck[i + 3] ?? 1;
      const layer = nameOf(root, 'encoder/layer', i + 2);
      x = residual(nameOf(layer, 'downsampling_layer'), [from, to], 2, x);
      x = attended(net, layer, {...sizes, depth, channels: to, width: hidden[i] ?? 1}, convolve, x);
      from = to;
      net.stage(i + 3, x);
    });
    const width = neck[6] ?? 1;
    x = convolve(nameOf(root, 'conv_1x1_exp'), [from, width], {size: 1}, x);
    return featureOutput(net, config, purpose, {width}, x);
  },
};

/** The blocks of the first two stages. */
const RESIDUALS = [
  {stage: 0, index: 0, stride: 1},
  {stage: 1, index: 0, stride: 2},
  {stage: 1, index: 1, stride: 1},
  {stage: 1, index: 2, stride: 1},
];
/** The blocks of attention in the others. */
const DEPTHS = [2, 4, 3];

interface Sizes {
  /** The channels of convolutions, and the widths of attention. */
  neck: number[];
  hidden: number[];
  heads: number;
  ratio: number;
  patch: number;
  /** The edge of kernels around attention. */
  size: number;
  epsilon: number;
  bias: boolean;
  activation: ActivationName;
}

function mobileVitSizes(config: HubConfig): Sizes {
  const neck = config.counts('neck_hidden_sizes', [16, 32, 64, 96, 128, 160, 640]);
  const hidden = config.counts('hidden_sizes', [144, 192, 240]);
  const heads = config.count('num_attention_heads', 4);
  const size = config.count('conv_kernel_size', 3);
  if (neck.length !== 7 || hidden.length !== 3) {
    config.fault('neck_hidden_sizes must have 7 entries, and hidden_sizes 3.');
  }
  if (hidden.some(width => width % heads !== 0)) {
    config.fault(`hidden_sizes must be multiples of num_attention_heads, ${heads}, got ${hidden.join(', ')}.`);
  }
  if (size % 2 === 0) {
    config.fault(`conv_kernel_size must be odd, got ${size}.`);
  }
  return {
    ...{neck, hidden, heads, size},
    ratio: config.number('mlp_ratio', 2),
    patch: config.count('patch_size', 2),
    epsilon: config.number('layer_norm_eps', 1e-5),
    bias: config.flag('qkv_bias', true),
    activation: config.choice('hidden_act', HUB_ACTIVATIONS, 'silu'),
  };
}

interface StageSizes extends Sizes {
  depth: number;
  channels: number;
  width: number;
}

/** Blocks of attention between convolutions. */
function attended(net: Net, layer: string, sizes: StageSizes, convolve: Convolve, input: NetTensor): NetTensor {
  const {channels, width, size, patch, depth, epsilon} = sizes;
  const near = convolve(nameOf(layer, 'conv_kxk'), [channels, channels], {size}, input);
  const projection = nameOf(layer, 'conv_1x1/convolution');
  const wide = convolution(net, projection, {channels: [channels, width], size: 1, bias: false}, near);
  const [pixels, features] = [nameOf(layer, 'pixels'), nameOf(layer, 'features')];
  let x = net.apply(pixels, [wide], () => new PatchPixels({patch, name: pixels}));
  x = net.blocks(nameOf(layer, 'transformer/layer'), depth, [x], (name, [states = null]) =>
    mobileVitBlock(net, name, sizes, states),
  );
  x = net.layerNorm(nameOf(layer, 'layernorm'), width, epsilon, [x]);
  const joined = net.apply(features, [x, wide], () => new JoinedPixels({patch, name: features}));
  const narrow = convolve(nameOf(layer, 'conv_projection'), [width, channels], {size: 1}, joined);
  const both = net.concatenate(nameOf(layer, 'joined'), [input, narrow]);
  return convolve(nameOf(layer, 'fusion'), [2 * channels, channels], {size}, both);
}

function mobileVitBlock(net: Net, layer: string, sizes: StageSizes, input: NetTensor): NetTensor {
  const {width, heads, ratio, bias} = sizes;
  const self = nameOf(layer, 'attention/attention');
  const attend = (x: NetTensor) => {
    const projected = ['query', 'key', 'value'].map(name => net.dense(nameOf(self, name), [width, width], x, {bias}));
    return net.attention(self, projected, {heads});
  };
  const inner = Math.trunc(width * ratio);
  return plainBlock(net, layer, {...sizes, inner, modules: MODULES, order: 'before', attend}, input);
}

const MODULES = {
  ...{attention: 'attention', attended: 'attention/output/dense', norms: VIT_NAMES.norms, feedForward: ''},
  ...{wide: 'intermediate/dense', activation: 'intermediate/activation', narrow: 'output/dense'},
};
