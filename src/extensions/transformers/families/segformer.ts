import {ResizedFeatures, SequenceFeatures} from '../layers/featureMaps';
import {type Architecture, HUB_ACTIVATIONS, nameOf, OF_IMAGES} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {ActivationName, Net, NetTensor} from '../net/net';
import {asSequence, blocksOf, convolution, convolvedBlock, featureOutput, stagesOf} from './convolutions';
import {attentionToday, PATCH_MODULES} from './patchBlocks';
import {type PlainBlock, plainBlock} from './plainBlock';

/**
 * SegFormer: stages of attention to fewer positions. A head combines their features at each position. (Xie et al.,
 * arXiv 2105.15203.)
 */
export const segformer: Architecture = {
  prefix: 'segformer',
  classes: {
    SegformerModel: 'none',
    SegformerForImageClassification: 'classes',
    SegformerForSemanticSegmentation: 'tokenClasses',
  },
  ...OF_IMAGES,
  commonNames: {num_encoder_blocks: 'num_hidden_layers'},
  renamed: name =>
    attentionToday(name)
      .replace(/^encoder\.patch_embeddings\.(\d+)\./, 'stages.$1.patch_embeddings.')
      .replace(/^encoder\.block\.(\d+)\./, 'stages.$1.blocks.')
      .replace(/^encoder\.layer_norm\.(\d+)\./, 'stages.$1.layer_norm.')
      .replace('.attention.self.sr.', '.attention.sequence_reduction.sequence_reduction.')
      .replace('.attention.self.layer_norm.', '.attention.sequence_reduction.layer_norm.')
      .replace(/\.mlp\.dense(\d)\./, '.mlp.fc$1.')
      .replace('.layer_norm_1.', '.layernorm_before.')
      .replace('.layer_norm_2.', '.layernorm_after.')
      .replace(/^decode_head\.linear_c\./, 'decode_head.linear_projections.'),
  blocks: config => blocksOf(config, DEPTHS),
  build: (net, config, {pixels}, purpose) => {
    config.expect('is_causal', false);
    const root = purpose.head === 'none' ? '' : 'segformer';
    const stages = stageSizes(config);
    const isImage = config.flag('reshape_last_stage', true);
    let from = config.count('num_channels', 3);
    let x = pixels;
    const features = stages.map(({depth, patch, stride, ...sizes}, stage) => {
      const {width} = sizes;
      const name = nameOf(root, 'stages', stage);
      const embeddings = nameOf(name, 'patch_embeddings');
      const cut = {channels: [from, width], size: patch, stride, padding: Math.floor(patch / 2)} as const;
      x = net.layerNorm(nameOf(embeddings, 'layer_norm'), width, EPSILON, [
        convolution(net, nameOf(embeddings, 'proj'), cut, x),
      ]);
      x = net.blocks(nameOf(name, 'blocks'), depth, [x], (layer, [input = null]) =>
        segformerBlock(net, layer, sizes, input),
      );
      from = width;
      x = net.layerNorm(nameOf(name, 'layer_norm'), width, EPSILON, [x]);
      net.stage(stage + 1, x);
      return x;
    });
    if (purpose.head === 'tokenClasses') {
      if (!isImage) {
        config.fault('reshape_last_stage is false, which is not supported with the head for each position.');
      }
      const widths = stages.map(({width}) => width);
      const fresh = purpose.isNew ? config.number('initializer_range', 0.02, 1) : undefined;
      return decoded(
        net,
        {widths, width: config.count('decoder_hidden_size', 256), labels: purpose.labels, fresh},
        features,
      );
    }
    if (purpose.pooling === 'pooler') {
      config.fault("The model has no pooler. Choose another pooling: 'mean'.");
    }
    const isSequence = purpose.head === 'none' && purpose.pooling === 'none' && !isImage;
    return isSequence ? asSequence(net, 'sequence', x) : featureOutput(net, config, purpose, {width: from}, x);
  },
};

const DEPTHS = [2, 2, 2, 2];
/** For all normalizations, whatever the config says. */
const EPSILON = 1e-5;

interface BlockSizes {
  width: number;
  heads: number;
  /** How many times fewer rows and columns of keys there are than of queries. */
  reduction: number;
  inner: number;
  activation: ActivationName;
}

function stageSizes(config: HubConfig): (BlockSizes & {depth: number; patch: number; stride: number})[] {
  const stages = stagesOf(config, 'hidden_sizes', {depths: DEPTHS, widths: [32, 64, 160, 256]});
  const count = config.count('num_encoder_blocks', 4);
  if (count !== stages.length) {
    config.fault(`num_encoder_blocks must be the number of entries in depths, ${stages.length}, got ${count}.`);
  }
  const [reductions, patches, strides, heads, ratios] = Object.entries(LISTS).map(([name, otherwise]) => {
    const list = config.counts(name, otherwise);
    if (list.length !== stages.length) {
      config.fault(`${name} must have as many entries as depths, ${stages.length}, got ${list.length}.`);
    }
    return list;
  }) as [number[], number[], number[], number[], number[]];
  const activation = config.choice('hidden_act', HUB_ACTIVATIONS, 'gelu');
  return stages.map(({depth, width}, i) => ({
    depth,
    width,
    activation,
    ...{patch: patches[i] ?? 1, stride: strides[i] ?? 1, heads: heads[i] ?? 1, reduction: reductions[i] ?? 1},
    inner: width * (ratios[i] ?? 1),
  }));
}

const LISTS = {
  sr_ratios: [8, 4, 2, 1],
  patch_sizes: [7, 3, 3, 3],
  strides: [4, 2, 2, 2],
  num_attention_heads: [1, 2, 5, 8],
  mlp_ratios: [4, 4, 4, 4],
};

function segformerBlock(net: Net, layer: string, sizes: BlockSizes, input: NetTensor): NetTensor {
  const {width, heads, reduction, inner, activation} = sizes;
  const self = nameOf(layer, 'attention');
  const attendedWidth = heads * Math.max(Math.floor(width / heads), 1);
  const attend = (x: NetTensor) => {
    const sequence = asSequence(net, nameOf(self, 'sequence'), x);
    const fewer = reduction === 1 ? sequence : reduced(net, nameOf(self, 'sequence_reduction'), sizes, x);
    const projected = [sequence, fewer, fewer].map((states, i) =>
      net.dense(nameOf(self, `${'qkv'.charAt(i)}_proj`), [width, attendedWidth], states),
    );
    return net.attention(self, projected, {heads});
  };
  const behind: PlainBlock['behind'] = (part, x) => {
    const name = nameOf(self, 'features');
    return part === 0 ? net.apply(name, [x, input], () => new SequenceFeatures({name})) : x;
  };
  const mlp = nameOf(layer, 'mlp');
  const feed = (x: NetTensor) => {
    const wide = net.dense(nameOf(mlp, 'fc1'), [width, inner], x);
    const near = {channels: [inner, inner], size: 3, depthwise: true} as const;
    const mixed = convolution(net, nameOf(mlp, 'dwconv/dwconv'), near, wide);
    const active = net.activation(nameOf(mlp, 'activation_fn'), activation, mixed);
    return net.dense(nameOf(mlp, 'fc2'), [inner, width], active);
  };
  const parts = {modules: PATCH_MODULES, order: 'before', attend, attendedWidth, behind, feed} as const;
  return plainBlock(net, layer, {...sizes, ...parts, epsilon: EPSILON}, input);
}

/** The positions that keys and values are computed from. */
function reduced(net: Net, name: string, {width, reduction}: BlockSizes, x: NetTensor): NetTensor {
  const args = {channels: [width, width], size: reduction, stride: reduction, padding: 0} as const;
  const fewer = convolution(net, nameOf(name, 'sequence_reduction'), args, x);
  const sequence = asSequence(net, nameOf(name, 'sequence'), fewer);
  return net.layerNorm(nameOf(name, 'layer_norm'), width, EPSILON, [sequence]);
}

/**
 * The logits of each position of the first stage, from the features of all stages. A new head keeps the file's layers,
 * except for the last one.
 */
function decoded(
  net: Net,
  {widths, width, labels, fresh}: {widths: number[]; width: number; labels: number; fresh: number | undefined},
  features: readonly NetTensor[],
): NetTensor {
  const head = 'decode_head';
  const start = net.hasLinear(nameOf(head, 'linear_fuse')) || fresh === undefined ? {} : {fresh};
  const [first = null] = features;
  const resized = features.map((x, i) => {
    const name = nameOf(head, 'linear_projections', i);
    const projected = net.dense(nameOf(name, 'proj'), [widths[i] ?? 1, width], x, start);
    const likeFirst = nameOf(name, 'resized');
    return i === 0 ? projected : net.apply(likeFirst, [projected, first], () => new ResizedFeatures({name: likeFirst}));
  });
  const joined =
    resized.length === 1 ? (resized[0] ?? null) : net.concatenate(nameOf(head, 'joined'), resized.reverse());
  const names = ['linear_fuse', 'batch_norm', 'activation'].map(module => nameOf(head, module));
  const fuse = {channels: [width * widths.length, width], size: 1, activation: 'relu', ...start} as const;
  const fused = convolvedBlock(net, names as [string, string, string], fuse, joined);
  return convolution(net, nameOf(head, 'classifier'), {channels: [width, labels], size: 1, fresh}, fused);
}
