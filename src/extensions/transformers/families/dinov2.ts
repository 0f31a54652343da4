import {type Architecture, nameOf, OF_IMAGES} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {
  attentionToday,
  blocks,
  blockSizes,
  type BlockSizes,
  expectSquare,
  imageSizes,
  pooledPatches,
} from './patchBlocks';
import {patches, patchSequence} from './patches';

/** What differs between DINOv2 with registers and without. */
interface Variant {
  prefix: string;
  classes: Architecture['classes'];
  registers: (config: HubConfig) => number;
  /** Whether position embeddings are resized with antialiasing. */
  antialias: boolean;
}

/** DINOv2: a ViT with layer scale and optionally gated feed-forward layers. (Oquab et al., arXiv 2304.07193.) */
export const dinov2 = dino({
  prefix: 'dinov2',
  classes: {Dinov2Model: 'none', Dinov2ForImageClassification: 'classes'},
  registers: () => 0,
  antialias: false,
});

/** DINOv2 with register tokens, which have no positions. (arXiv 2309.16588.) */
export const dinov2WithRegisters = dino({
  prefix: 'dinov2_with_registers',
  classes: {Dinov2WithRegistersModel: 'none', Dinov2WithRegistersForImageClassification: 'classes'},
  registers: config => config.count('num_register_tokens', 4),
  antialias: true,
});

function dino({prefix, classes, registers: registersOf, antialias}: Variant): Architecture {
  return {
    prefix,
    classes,
    ...OF_IMAGES,
    uncomputed: /^embeddings\.mask_token$/,
    renamed: name => attentionToday(name).replace('.mlp.weights_out.', '.mlp.down_proj.'),
    blocks: config => config.count('num_hidden_layers', 12),
    build: (net, config, {pixels}, {head, pooling, labels, isNew}) => {
      const {channels, patch, grid} = imageSizes(config, 14);
      expectSquare(config, grid);
      const sizes = dinoSizes(config);
      const {width, epsilon} = sizes;
      const root = head === 'none' ? '' : prefix;
      const embeddings = nameOf(root, 'embeddings');
      const registers = registersOf(config);
      let x = patches(net, nameOf(embeddings, 'patch_embeddings/projection'), {channels, width, size: patch}, pixels);
      const sequence = {grid, width, antialias, tokens: ['cls_token'], positions: 'position_embeddings'};
      const ofRegisters = registers === 0 ? undefined : {name: 'register_tokens', count: registers};
      x = patchSequence(net, embeddings, {...sequence, registers: ofRegisters}, x);
      const count = config.count('num_hidden_layers', 12);
      x = blocks(net, {root: nameOf(root, 'encoder/layer'), count}, sizes, NAMES, [x]);
      x = net.layerNorm(nameOf(root, 'layernorm'), width, epsilon, [x]);
      const tokens = 1 + registers;
      if (head === 'classes') {
        const start = isNew ? {fresh: config.number('initializer_range', 0.02, 1)} : {};
        const first = net.pool('classifier/first', 'first', [x]);
        const mean = net.pool('classifier/mean', 'mean', [x], {skip: tokens});
        return net.dense('classifier', [2 * width, labels], net.concatenate('classifier/input', [first, mean]), start);
      }
      return pooledPatches(net, config, pooling, {tokens}, x);
    },
  };
}

const NAMES = {
  norms: ['norm1', 'norm2'] as [string, string],
  attention: 'attention',
  output: 'o_proj',
  scales: ['layer_scale1', 'layer_scale2'] as [string, string],
};

function dinoSizes(config: HubConfig): BlockSizes {
  const width = config.count('hidden_size', 768);
  const wide = width * config.count('mlp_ratio', 4);
  const gated = config.flag('use_swiglu_ffn', false);
  // Two matrices instead of one have two thirds of its width, rounded up to a multiple of 8.
  const inner = gated ? Math.ceil(Math.trunc((wide * 2) / 3) / 8) * 8 : wide;
  const sizes = blockSizes(config, {width: 768, heads: 12, inner, epsilon: 1e-6, activation: 'gelu'});
  return {...sizes, inner, gated, size: config.count('head_dim', sizes.size), bias: config.flag('qkv_bias', true)};
}
