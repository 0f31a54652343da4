import {type Architecture, HUB_ACTIVATIONS, nameOf, OF_IMAGES} from '../net/architecture';
import type {ActivationName, Net, NetTensor} from '../net/net';
import {blocksOf, convolvedBlock, featureOutput, maxPool, stagesOf} from './convolutions';

/** ResNet v1.5, of basic blocks or of bottlenecks. (He et al., arXiv 1512.03385.) */
export const resnet: Architecture = {
  prefix: 'resnet',
  classes: {ResNetModel: 'none', ResNetForImageClassification: 'classes'},
  ...OF_IMAGES,
  renamed: ofTimm,
  blocks: config => blocksOf(config, DEPTHS),
  build: (net, config, {pixels}, purpose) => {
    const root = purpose.head === 'none' ? '' : 'resnet';
    const width = config.count('embedding_size', 64);
    const activation = config.choice('hidden_act', HUB_ACTIVATIONS, 'relu');
    const isBasic = config.choice('layer_type', {basic: true, bottleneck: false}, 'bottleneck');
    const inFirst = config.flag('downsample_in_bottleneck', false);
    const stages = stagesOf(config, 'hidden_sizes', {depths: DEPTHS, widths: [256, 512, 1024, 2048]});
    const shrinksFirst = config.flag('downsample_in_first_stage', false);
    const channels = config.count('num_channels', 3);
    const embedder = nameOf(root, 'embedder');
    const stem = {channels: [channels, width], size: 7, stride: 2, activation} as const;
    let x = convolvedBlock(net, nameOf(embedder, 'embedder'), stem, pixels);
    x = maxPool(net, nameOf(embedder, 'pooler'), {size: 3, stride: 2, padding: 1}, x);
    let from = width;
    stages.forEach(({depth, width: to}, stage) => {
      if (!isBasic && to < 4) {
        config.fault(`hidden_sizes must be at least 4, got ${to}.`);
      }
      x = net.blocks(nameOf(root, 'encoder/stages', stage, 'layers'), depth, [x], (name, [input = null], i) => {
        const stride = i === 0 && (stage > 0 || shrinksFirst) ? 2 : 1;
        const sizes = {channels: [i === 0 ? from : to, to], stride, activation, isBasic, inFirst} as const;
        return residual(net, name, sizes, input);
      });
      from = to;
      net.stage(stage + 1, x);
    });
    const last = {classifier: 'classifier/1', width: from, deviation: () => 1 / Math.sqrt(3 * from)};
    return featureOutput(net, config, purpose, last, x);
  },
};

const DEPTHS = [3, 4, 6, 3];

interface ResidualSizes {
  channels: readonly [from: number, to: number];
  stride: number;
  activation: ActivationName;
  isBasic: boolean;
  /** Whether the first convolution of a bottleneck has the stride, as in version 1, instead of the second. */
  inFirst: boolean;
}

function residual(net: Net, name: string, sizes: ResidualSizes, x: NetTensor): NetTensor {
  const {channels, stride, activation, isBasic, inFirst} = sizes;
  const [from, to] = channels;
  const isChanged = from !== to || stride !== 1;
  const shortcut = isChanged ? convolvedBlock(net, nameOf(name, 'shortcut'), {channels, stride, size: 1}, x) : x;
  const narrow = Math.max(Math.floor(to / 4), 1);
  // ResNet's layers within a block always have relus, whatever the config says.
  const relu = 'relu' as const;
  const layers = isBasic
    ? [
        {channels, size: 3, stride, activation: relu},
        {channels: [to, to] as const, size: 3},
      ]
    : [
        {channels: [from, narrow] as const, size: 1, stride: inFirst ? stride : 1, activation: relu},
        {channels: [narrow, narrow] as const, size: 3, stride: inFirst ? 1 : stride, activation: relu},
        {channels: [narrow, to] as const, size: 1},
      ];
  const deep = layers.reduce((y, args, i) => convolvedBlock(net, nameOf(name, 'layer', i), args, y), x);
  const sum = net.add(nameOf(name, 'sum'), [deep, shortcut]);
  return net.activation(nameOf(name, 'activation'), activation, sum);
}

/** The name in files of transformers of a tensor in a file of timm. */
function ofTimm(name: string): string {
  return name
    .replace(/^conv1\./, 'embedder.embedder.convolution.')
    .replace(/^bn1\./, 'embedder.embedder.normalization.')
    .replace(/^fc\./, 'classifier.1.')
    .replace(
      /^layer(\d+)\.(\d+)\./,
      (_, stage: string, i: string) => `encoder.stages.${Number(stage) - 1}.layers.${i}.`,
    )
    .replace(/\.conv(\d)\.(?=\w+$)/, (_, i: string) => `.layer.${Number(i) - 1}.convolution.`)
    .replace(/\.bn(\d)\.(?=\w+$)/, (_, i: string) => `.layer.${Number(i) - 1}.normalization.`)
    .replace('.downsample.0.', '.shortcut.convolution.')
    .replace('.downsample.1.', '.shortcut.normalization.');
}
