import {type Architecture, HUB_ACTIVATIONS, HUB_GATES, nameOf, OF_IMAGES} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {Net, NetTensor} from '../net/net';
import {PatchAngles, RotatedPatches} from '../layers/patchRotary';
import {blockSizes, type BlockSizes, imageSizes, layerScale, pooledPatches} from './patchBlocks';
import {plainBlock} from './plainBlock';
import {patches, patchSequence} from './patches';

/** DINOv3: a ViT with rotary positions of patches, and registers. (Siméoni et al., arXiv 2508.10104.) */
export const dinov3: Architecture = {
  prefix: 'model',
  classes: {DINOv3ViTModel: 'none'},
  ...OF_IMAGES,
  uncomputed: /^embeddings\.mask_token$/,
  blocks: config => config.count('num_hidden_layers', 12),
  build: (net, config, {pixels}, {pooling}) => {
    const {channels, patch} = imageSizes(config, 16);
    const sizes = dinov3Sizes(config);
    const {width, size, epsilon} = sizes;
    const registers = config.count('num_register_tokens', 0); // published models have some
    const theta = config.number('rope_theta', 100);
    const map = patches(net, 'embeddings/patch_embeddings', {channels, width, size: patch}, pixels);
    const ofRegisters = {name: 'register_tokens', count: registers};
    const sequence = {grid: [1, 1] as const, width, tokens: ['cls_token'], registers: ofRegisters};
    let x = patchSequence(net, 'embeddings', sequence, map);
    const angles = net.apply('rope_embeddings', [map], () => {
      return new PatchAngles({size, theta, tokens: 1 + registers, name: 'rope_embeddings'});
    });
    const count = config.count('num_hidden_layers', 12);
    x = net.blocks('model/layer', count, [x, angles], (layer, [input = null, shown = null]) =>
      dinoBlock(net, layer, sizes, [input, shown]),
    );
    x = net.layerNorm('norm', width, epsilon, [x]);
    return pooledPatches(net, config, pooling, {tokens: 1 + registers}, x);
  },
};

/** The sizes of blocks, and which layers have biases. */
interface Sizes extends BlockSizes {
  biases: Readonly<Record<'q_proj' | 'k_proj' | 'v_proj' | 'o_proj' | 'mlp', boolean>>;
  gate: 'silu' | 'gelu' | 'gelu_tanh' | undefined;
}

function dinov3Sizes(config: HubConfig): Sizes {
  const isGated = config.flag('use_gated_mlp', false);
  const sizes = blockSizes(config, {width: 384, heads: 6, inner: 1536, epsilon: 1e-5, activation: 'gelu'});
  if (sizes.width % sizes.heads !== 0 || sizes.size % 4 !== 0) {
    config.fault(`hidden_size must be a multiple of 4 · num_attention_heads (${sizes.heads}), got ${sizes.width}.`);
  }
  return {
    ...sizes,
    size: Math.max(sizes.size - (sizes.size % 4), 4),
    gate: isGated ? config.choice('hidden_act', HUB_GATES, 'gelu') : undefined,
    activation: config.choice('hidden_act', HUB_ACTIVATIONS, 'gelu'),
    biases: {
      q_proj: config.flag('query_bias', true),
      k_proj: config.flag('key_bias', false),
      v_proj: config.flag('value_bias', true),
      o_proj: config.flag('proj_bias', true),
      mlp: config.flag('mlp_bias', true),
    },
  };
}

function dinoBlock(
  net: Net,
  layer: string,
  sizes: Sizes,
  [input, angles]: [states: NetTensor, angles: NetTensor],
): NetTensor {
  const {width, inner, heads, gate, biases} = sizes;
  const self = nameOf(layer, 'attention');
  const attend = (x: NetTensor) => {
    const [queries = null, keys = null, values = null] = (['q_proj', 'k_proj', 'v_proj'] as const).map(name =>
      net.dense(nameOf(self, name), [width, width], x, {bias: biases[name]}),
    );
    const rotated = [queries, keys].map((part, i) => {
      const name = nameOf(self, ['queries', 'keys'][i] as string);
      return net.apply(name, [part, angles], () => new RotatedPatches({heads, name}));
    });
    return net.attention(self, [...rotated, values], {heads});
  };
  const mlp = nameOf(layer, 'mlp');
  const feed = (x: NetTensor) => {
    const wide = ['gate_proj', 'up_proj'].map(name =>
      net.dense(nameOf(mlp, name), [width, inner], x, {bias: biases.mlp}),
    );
    const active = net.gate(nameOf(mlp, 'act_fn'), gate ?? 'silu', wide);
    return net.dense(nameOf(mlp, 'down_proj'), [inner, width], active, {bias: biases.mlp});
  };
  return plainBlock(
    net,
    layer,
    {
      ...{...sizes, modules: MODULES, order: 'before', attend, stored: {bias: biases.mlp}},
      ...{storedAttended: {bias: biases.o_proj}, ...(gate && {feed})},
      behind: (part, x) => layerScale(net, nameOf(layer, `layer_scale${part + 1}`), width, x),
    },
    input,
  );
}

const MODULES = {
  ...{attention: 'attention', attended: 'attention/o_proj', norms: ['norm1', 'norm2'] as const, feedForward: 'mlp'},
  ...{wide: 'mlp/up_proj', activation: 'mlp/act_fn', narrow: 'mlp/down_proj'},
};
