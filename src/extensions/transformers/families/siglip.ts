import {type Architecture, type ModelInputs, nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {LearnedQuery, ScaledCosines} from '../layers/pairLayers';
import {fileNameOf, type Net, type NetTensor} from '../net/net';
import {blocks, blockSizes, type BlockSizes, CLIP_NAMES, noLast, perceptron, imageSizes} from './patchBlocks';
import {patches, patchSequence} from './patches';

// SigLIP: an image encoder and a text encoder, whose vectors are compared. (Zhai et al., arXiv 2303.15343.)

/** All of SigLIP, and its image encoder, which has no class token. */
export const siglip: Architecture = {
  prefix: 'vision_model',
  classes: {SiglipModel: 'pairs', SiglipVisionModel: 'none', SiglipForImageClassification: 'classes'},
  takes: head => (head === 'pairs' ? 'pairs' : 'images'),
  commonNames: {},
  unused: /^(text_model|logit_scale|logit_bias)(\.|$)/,
  uncomputed: /^head\./,
  blocks: config => blocksOf(visionConfig(config)) + (isWhole(config) ? blocksOf(textConfig(config)) : 0),
  channels: config => visionConfig(config).count('num_channels', 3),
  vocabulary: config => textConfig(config).count('vocab_size', VOCABULARY),
  build: (net, whole, inputs, {head, pooling, labels, isNew}) => {
    const config = visionConfig(whole);
    const sizes = siglipSizes(config);
    const {width} = sizes;
    const x = imageStates(net, config, head === 'none' ? '' : 'vision_model', {sizes, pixels: inputs.pixels});
    if (head === 'pairs') {
      return pairs(net, whole, inputs, {image: pooledImage(net, config, 'vision_model', sizes, x), width});
    }
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
        return pooledImage(net, config, '', sizes, x);
      case 'first':
        config.fault("The model has no class token. Choose another pooling: 'mean' or 'pooler'.");
        return x;
      case 'last':
        return noLast(config, x);
    }
  },
};

/** SigLIP's text encoder. */
export const siglipText: Architecture = {
  prefix: 'text_model',
  classes: {SiglipTextModel: 'none'},
  commonNames: {},
  unused: /^(vision_model|logit_scale|logit_bias)(\.|$)/,
  uncomputed: /^head\./,
  blocks: config => blocksOf(textConfig(config)),
  vocabulary: config => textConfig(config).count('vocab_size', VOCABULARY),
  positions: config => textConfig(config).count('max_position_embeddings', POSITIONS),
  build: (net, whole, inputs, {pooling}) => {
    const config = textConfig(whole);
    const sizes = siglipSizes(config);
    const x = textStates(net, config, '', sizes, inputs);
    switch (pooling) {
      case 'none':
        return x;
      case 'pooler':
        return pooledText(net, config, '', sizes, x);
      default:
        return net.pool('pooling', pooling, [x, inputs.mask]);
    }
  },
};

const VOCABULARY = 32_000;
const POSITIONS = 64;

/** Whether a config has both encoders. */
function isWhole(config: HubConfig): boolean {
  return config.get('model_type') === 'siglip';
}

function visionConfig(config: HubConfig): HubConfig {
  return isWhole(config) ? config.section('vision_config') : config;
}

function textConfig(config: HubConfig): HubConfig {
  return isWhole(config) ? config.section('text_config') : config;
}

function blocksOf(config: HubConfig): number {
  return config.count('num_hidden_layers', 12);
}

function siglipSizes(config: HubConfig): BlockSizes {
  const defaults = {width: 768, heads: 12, inner: 3072, epsilon: 1e-6, activation: 'gelu_pytorch_tanh'};
  const sizes = blockSizes(config, defaults);
  if (sizes.width % sizes.heads !== 0) {
    config.fault(`hidden_size must be a multiple of num_attention_heads (${sizes.heads}), got ${sizes.width}.`);
  }
  return sizes;
}

function imageStates(
  net: Net,
  config: HubConfig,
  root: string,
  {sizes, pixels}: {sizes: BlockSizes; pixels: NetTensor},
): NetTensor {
  const {channels, patch, grid} = imageSizes(config, 16);
  const {width, epsilon} = sizes;
  const embeddings = nameOf(root, 'embeddings');
  let x = patches(net, nameOf(embeddings, 'patch_embedding'), {channels, width, size: patch}, pixels);
  const positions: [string, number[]] = ['position_embedding.weight', [grid[0] * grid[1], width]];
  x = patchSequence(net, embeddings, {grid, tokens: [], positions}, x);
  const count = blocksOf(config);
  x = blocks(net, {root: nameOf(root, 'encoder/layers'), count}, sizes, CLIP_NAMES, [x]);
  return net.layerNorm(nameOf(root, 'post_layernorm'), width, epsilon, [x]);
}

function textStates(net: Net, config: HubConfig, root: string, sizes: BlockSizes, {ids, mask}: ModelInputs): NetTensor {
  const {width, epsilon} = sizes;
  const rows = config.count('max_position_embeddings', POSITIONS);
  const embeddings = nameOf(root, 'embeddings');
  let x = net.embedding(nameOf(embeddings, 'token_embedding'), config.count('vocab_size', VOCABULARY), width, ids);
  x = net.positions(nameOf(embeddings, 'position_embedding'), {rows, width}, [x]);
  const count = blocksOf(config);
  x = blocks(net, {root: nameOf(root, 'encoder/layers'), count}, sizes, CLIP_NAMES, [x, mask]);
  return net.layerNorm(nameOf(root, 'final_layer_norm'), width, epsilon, [x]);
}

/** The state of the last position. Texts must be padded to the full length. */
function pooledText(net: Net, config: HubConfig, root: string, {width}: BlockSizes, x: NetTensor): NetTensor {
  const to = config.countOr('projection_size', width);
  return net.dense(nameOf(root, 'head'), [width, to], net.pool(nameOf(root, 'last'), 'last', [x]));
}

/** Scaled cosines of each image with each text, plus a bias. */
function pairs(
  net: Net,
  whole: HubConfig,
  inputs: ModelInputs,
  {image, width}: {image: NetTensor; width: number},
): NetTensor {
  const config = textConfig(whole);
  const sizes = siglipSizes(config);
  const to = config.countOr('projection_size', sizes.width);
  if (to !== width) {
    config.fault(`projection_size of texts must be hidden_size of images, ${width}, got ${to}.`);
  }
  const text = pooledText(net, config, 'text_model', sizes, textStates(net, config, 'text_model', sizes, inputs));
  const name = 'logits_per_image';
  net.expect(name, '', [1], 'scale', {fileName: 'logit_scale'});
  net.expect(name, '', [1], 'bias', {fileName: 'logit_bias'});
  return net.apply(name, [image, text], () => new ScaledCosines({bias: true, name}));
}

/** A learned query that attends to all patches, followed by two dense layers. */
function pooledImage(net: Net, config: HubConfig, root: string, sizes: BlockSizes, x: NetTensor): NetTensor {
  if (!config.flag('vision_use_head', true)) {
    config.fault("The model has no pooler (vision_use_head). Choose another pooling: 'mean'.");
  }
  const head = nameOf(root, 'head');
  const {width, heads, epsilon} = sizes;
  net.expect(head, 'probe', [1, 1, width], 'query');
  const probe = net.apply(head, [x], () => new LearnedQuery({name: head}));
  const projected = [probe, x, x].map((input, index) =>
    net.dense(nameOf(head, `attention/${'qkv'.charAt(index)}_proj`), [width, width], input, {
      orElse: fileNameOf(nameOf(head, 'attention'), 'in_proj_weight'),
      biasOrElse: fileNameOf(nameOf(head, 'attention'), 'in_proj_bias'),
      part: {index, of: 3, joined: true},
    }),
  );
  const attended = net.attention(nameOf(head, 'attention'), projected, {heads});
  const out = net.dense(nameOf(head, 'attention/out_proj'), [width, width], attended);
  const normal = net.layerNorm(nameOf(head, 'layernorm'), width, epsilon, [out]);
  const sum = net.add(nameOf(head, 'sum'), [out, perceptron(net, nameOf(head, 'mlp'), sizes, normal)]);
  return net.pool(root === '' ? 'pooling' : nameOf(head, 'state'), 'first', [sum]);
}
