import {type Architecture, nameOf} from '../architecture';
import type {HubConfig} from '../hubConfig';
import {LearnedQuery} from '../layers/pairLayers';
import type {Net, NetTensor} from '../net';
import {blocks, blockSizes, type BlockSizes, CLIP_NAMES, noLast, perceptron, pictureSizes} from './patchBlocks';
import {patches, patchSequence} from './patches';

/** SigLIP's encoder of pictures, which has no token for the class. (Zhai et al., arXiv 2303.15343.) */
export const siglip: Architecture = {
  prefix: 'vision_model',
  classes: {SiglipVisionModel: 'none', SiglipForImageClassification: 'classes'},
  takes: () => 'pictures',
  commonNames: {},
  unused: /^(text_model|logit_scale|logit_bias|head)(\.|$)/,
  blocks: config => ofPictures(config).count('num_hidden_layers', 12),
  channels: config => ofPictures(config).count('num_channels', 3),
  build: (net, whole, {pixels}, {head, pooling, labels, isNew}) => {
    const config = ofPictures(whole);
    const {channels, patch, grid} = pictureSizes(config, 16);
    const sizes = siglipSizes(config);
    const {width, epsilon} = sizes;
    const root = head === 'none' ? '' : 'vision_model';
    const embeddings = nameOf(root, 'embeddings');
    let x = patches(net, nameOf(embeddings, 'patch_embedding'), {channels, width, size: patch}, pixels);
    const places: [string, number[]] = ['position_embedding.weight', [grid[0] * grid[1], width]];
    x = patchSequence(net, embeddings, {grid, tokens: [], positions: places}, x);
    const count = config.count('num_hidden_layers', 12);
    x = blocks(net, {root: nameOf(root, 'encoder/layers'), count}, sizes, CLIP_NAMES, [x]);
    x = net.layerNorm(nameOf(root, 'post_layernorm'), width, epsilon, [x]);
    if (head === 'classes') {
      const start = isNew ? {fresh: 1 / Math.sqrt(width)} : {};
      return net.dense('classifier', [width, labels], net.pool('classifier/mean', 'mean', [x]), start);
    }
    switch (pooling) {
      case 'none':
        return x;
      case 'mean':
        return net.pool('pooling', 'mean', [x]);
      case 'pooler':
        if (!config.flag('vision_use_head', true)) {
          config.fault("There is no pooler in the model (vision_use_head). Choose another pooling: 'mean'.");
        }
        return poolingHead(net, sizes, x);
      case 'first':
        config.fault("There is no token for the class in the model. Choose another pooling: 'mean' or 'pooler'.");
        return x;
      case 'last':
        return noLast(config, x);
    }
  },
};

function ofPictures(config: HubConfig): HubConfig {
  return config.get('model_type') === 'siglip' ? config.section('vision_config') : config;
}

function siglipSizes(config: HubConfig): BlockSizes {
  const defaults = {width: 768, heads: 12, inner: 3072, epsilon: 1e-6, activation: 'gelu_pytorch_tanh'};
  const sizes = blockSizes(config, defaults);
  if (sizes.width % sizes.heads !== 0) {
    config.fault(`hidden_size ${sizes.width} is no multiple of num_attention_heads ${sizes.heads}.`);
  }
  return sizes;
}

/** One query that was learned, which looks at all patches, and two layers after it. */
function poolingHead(net: Net, sizes: BlockSizes, x: NetTensor): NetTensor {
  const {width, heads, epsilon} = sizes;
  net.expect('head', 'probe', [1, 1, width], 'query');
  const probe = net.apply('head', [x], () => new LearnedQuery({name: 'head'}));
  const projected = [probe, x, x].map((input, index) =>
    net.dense(`head/attention/${'qkv'.charAt(index)}_proj`, [width, width], input, {
      orElse: 'head.attention.in_proj_weight',
      biasOrElse: 'head.attention.in_proj_bias',
      part: {index, of: 3},
    }),
  );
  const attended = net.attention('head/attention', projected, {heads});
  const out = net.dense('head/attention/out_proj', [width, width], attended);
  const normal = net.layerNorm('head/layernorm', width, epsilon, [out]);
  const sum = net.add('head/sum', [out, perceptron(net, 'head/mlp', sizes, normal)]);
  return net.pool('pooling', 'first', [sum]);
}
