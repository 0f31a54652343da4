import {FeatureSequence} from '../layers/featureMaps';
import {type Architecture, HUB_ACTIVATIONS, nameOf, OF_IMAGES} from '../net/architecture';
import {blocksOf, convolution, stagesOf} from './convolutions';
import {convNextBlocks, type ConvNextNames} from './convNextBlocks';
import {pooledPatches} from './patchBlocks';

/** ConvNeXt of DINOv3, whose positions follow their mean as a sequence. (Siméoni et al., arXiv 2508.10104.) */
export const dinov3ConvNext: Architecture = {
  prefix: 'model',
  classes: {DINOv3ConvNextModel: 'none'},
  ...OF_IMAGES,
  blocks: config => blocksOf(config, DEPTHS),
  build: (net, config, {pixels}, {pooling}) => {
    const stages = stagesOf(config, 'hidden_sizes', {depths: DEPTHS, widths: [96, 192, 384, 768]});
    config.expect('num_stages'); // transformers derives it
    const epsilon = config.number('layer_norm_eps', 1e-6);
    const activation = config.choice('hidden_act', HUB_ACTIVATIONS, 'gelu');
    let x = pixels;
    let from = config.count('num_channels', 3);
    stages.forEach(({depth, width}, stage) => {
      const name = nameOf('model/stages', stage);
      const size = stage === 0 ? 4 : 2;
      const norm = (input: typeof x, i: number) =>
        net.layerNorm(nameOf(name, 'downsample_layers', i), i === 0 ? from : width, epsilon, [input]);
      const shrunk = (input: typeof x, i: number) =>
        convolution(
          net,
          nameOf(name, 'downsample_layers', i),
          {channels: [from, width], size, stride: size, padding: 0},
          input,
        );
      x = stage === 0 ? norm(shrunk(x, 0), 1) : shrunk(norm(x, 0), 1);
      x = convNextBlocks(net, nameOf(name, 'layers'), depth, {width, epsilon, activation}, NAMES, x);
      from = width;
      net.stage(stage + 1, x);
    });
    const sequence = net.apply('sequence', [x], () => new FeatureSequence({mean: true, name: 'sequence'}));
    const states = net.layerNorm('layer_norm', from, epsilon, [sequence]);
    // The first position, and the pooler's, is the normalized mean.
    return pooledPatches(net, config, pooling, {tokens: 1}, states);
  },
};

const DEPTHS = [3, 3, 9, 3];
const NAMES: ConvNextNames = {
  depthwise: 'depthwise_conv',
  norm: 'layer_norm',
  pointwise: ['pointwise_conv1', 'pointwise_conv2'],
  activation: 'activation_fn',
  scale: 'gamma',
};
