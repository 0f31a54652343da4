import {type Architecture, HUB_ACTIVATIONS, HUB_GATES, nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {InFile, Net, NetTensor} from '../net/net';
import {PatchAngles, RotatedPatches} from '../layers/patchRotary';
import {blockSizes, type BlockSizes, imageSizes, layerScale, noLast} from './patchBlocks';
import {patches, patchSequence} from './patches';

/** DINOv3: a ViT with rotary positions of patches, and registers. (Siméoni et al., arXiv 2508.10104.) */
export const dinov3: Architecture = {
  prefix: 'model',
  classes: {DINOv3ViTModel: 'none'},
  takes: () => 'images',
  commonNames: {},
  uncomputed: /^embeddings\.mask_token$/,
  blocks: config => config.count('num_hidden_layers', 12),
  channels: config => config.count('num_channels', 3),
  build: (net, config, {pixels}, {pooling}) => {
    const {channels, patch} = imageSizes(config, 16);
    const sizes = dinov3Sizes(config);
    const {width, size, epsilon} = sizes;
    const registers = config.count('num_register_tokens', 0); // published models have some
    const theta = config.number('rope_theta', 100);
    const inFile = (name: string, rows: number): InFile => [name, [1, rows, width]];
    const map = patches(net, 'embeddings/patch_embeddings', {channels, width, size: patch}, pixels);
    const sequence = {
      grid: [1, 1] as [number, number],
      tokens: [inFile('cls_token', 1)],
      registers: inFile('register_tokens', registers),
    };
    let x = patchSequence(net, 'embeddings', sequence, map);
    const angles = net.apply('rope_embeddings', [map], () => {
      return new PatchAngles({size, theta, tokens: 1 + registers, name: 'rope_embeddings'});
    });
    const count = config.count('num_hidden_layers', 12);
    for (let i = 0; i < count; i++) {
      const layer = nameOf('model/layer', i);
      x = net.block({name: `${layer}/block`, index: i, count}, [x, angles], ([input = null, shown = null]) =>
        block(net, layer, sizes, [input, shown]),
      );
    }
    x = net.layerNorm('norm', width, epsilon, [x]);
    switch (pooling) {
      case 'none':
        return x;
      case 'first':
      case 'pooler': // the normalized state of the first token
        return net.pool('pooling', 'first', [x]);
      case 'mean':
        return net.poolBehind('pooling', 1 + registers, 'mean', x);
      case 'last':
        return noLast(config, x);
    }
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

function block(
  net: Net,
  layer: string,
  {width, inner, heads, epsilon, activation, gate, biases}: Sizes,
  [input, angles]: [states: NetTensor, angles: NetTensor],
): NetTensor {
  const self = nameOf(layer, 'attention');
  const first = net.layerNorm(nameOf(layer, 'norm1'), width, epsilon, [input]);
  const [queries = null, keys = null, values = null] = (['q_proj', 'k_proj', 'v_proj'] as const).map(name =>
    net.dense(nameOf(self, name), [width, width], first, {bias: biases[name]}),
  );
  const rotated = [queries, keys].map((x, i) => {
    const name = nameOf(self, ['queries', 'keys'][i] as string);
    return net.apply(name, [x, angles], () => new RotatedPatches({heads, name}));
  });
  const attended = net.attention(self, [...rotated, values], {heads});
  const own = net.dense(nameOf(self, 'o_proj'), [width, width], attended, {bias: biases.o_proj});
  const middle = net.add(nameOf(self, 'sum'), [input, layerScale(net, nameOf(layer, 'layer_scale1'), width, own)]);
  const second = net.layerNorm(nameOf(layer, 'norm2'), width, epsilon, [middle]);
  const mlp = nameOf(layer, 'mlp');
  const wide = (name: string) => net.dense(nameOf(mlp, name), [width, inner], second, {bias: biases.mlp});
  const active =
    gate === undefined
      ? net.activation(nameOf(mlp, 'act_fn'), activation, wide('up_proj'))
      : net.gate(nameOf(mlp, 'act_fn'), gate, [wide('gate_proj'), wide('up_proj')]);
  const narrow = net.dense(nameOf(mlp, 'down_proj'), [inner, width], active, {bias: biases.mlp});
  return net.add(nameOf(mlp, 'sum'), [middle, layerScale(net, nameOf(layer, 'layer_scale2'), width, narrow)]);
}
