import {show} from '../../../platform/errors';
import {HUB_ACTIVATIONS, nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {LayerScale} from '../layers/visionLayers';
import {type ActivationName, fileNameOf, type Net, type NetTensor} from '../net/net';

// What families of encoders for images share, and encoders for texts that are built like them.

/** The sizes of an image and of its patches, as a config has them. */
export interface ImageSizes {
  channels: number;
  patch: [height: number, width: number];
  /** How many rows and columns of patches an image of the config's size has. */
  grid: [rows: number, columns: number];
}

/** Reads the sizes of images, each one number or two, height and width. */
export function imageSizes(config: HubConfig, patchSize: number): ImageSizes {
  config.expect('is_causal', false);
  const image = pair(config, 'image_size', 224);
  const patch = pair(config, 'patch_size', patchSize);
  const [rows, columns] = image.map((size, i) => Math.floor(size / (patch[i] ?? 1))) as [number, number];
  if (rows < 1 || columns < 1) {
    config.fault(`image_size ${image.join(' × ')} is smaller than patch_size ${patch.join(' × ')}.`);
  }
  return {channels: config.count('num_channels', 3), patch, grid: [Math.max(rows, 1), Math.max(columns, 1)]};
}

function pair(config: HubConfig, name: string, otherwise: number): [number, number] {
  const given = config.get(name);
  if (!Array.isArray(given)) {
    const size = config.count(name, otherwise);
    return [size, size];
  }
  if (given.length !== 2 || !given.every(size => Number.isSafeInteger(size) && size > 0)) {
    config.fault(`${name} must be a positive integer, or two, height and width; got ${show(given)}.`);
    return [1, 1];
  }
  return given as [number, number];
}

/** What blocks compute with. */
export interface BlockSizes {
  width: number;
  heads: number;
  /** Numbers in a head. Together they may be more or fewer than `width`. */
  size: number;
  inner: number;
  epsilon: number;
  activation: ActivationName;
  /** Whether queries, keys and values have biases. */
  bias: boolean;
  /** Whether the middle is gated by silu. */
  gated?: boolean;
  causal?: boolean;
}

/** What modules of a block are called. */
export interface BlockNames {
  /** Before attention, and before the layers after it. */
  norms: [string, string];
  attention: string;
  output: string;
  /** What multiplies the results of both parts before they are added. */
  scales?: [string, string];
}

/** The names of modules in CLIP, and in what is built like it. */
export const CLIP_NAMES: BlockNames = {
  norms: ['layer_norm1', 'layer_norm2'],
  attention: 'self_attn',
  output: 'out_proj',
};

/** The name today of a tensor of attention, which files from before transformers 5 call otherwise. */
export function attentionToday(name: string): string {
  return name
    .replace(/\.attention\.attention\.(query|key|value)\./, (_, part: string) => `.attention.${part.charAt(0)}_proj.`)
    .replace('.attention.output.dense.', '.attention.o_proj.');
}

/** Refuses the last of the patches as what stands for an image. */
export function noLast(config: HubConfig, x: NetTensor): NetTensor {
  config.fault("The last patch does not stand for an image. Choose another pooling, such as 'mean'.");
  return x;
}

/** What a config has where it says nothing. */
interface BlockDefaults {
  width: number;
  heads: number;
  inner: number;
  epsilon: number;
  activation: string;
}

/** Reads the sizes that most configs say alike. */
export function blockSizes(config: HubConfig, defaults: BlockDefaults): BlockSizes {
  const width = config.count('hidden_size', defaults.width);
  const heads = config.count('num_attention_heads', defaults.heads);
  return {
    width,
    heads,
    size: Math.max(Math.floor(width / heads), 1),
    inner: config.count('intermediate_size', defaults.inner),
    epsilon: config.number('layer_norm_eps', defaults.epsilon),
    activation: config.choice('hidden_act', HUB_ACTIVATIONS, defaults.activation),
    bias: true,
  };
}

/** Blocks whose normalizations stand before each part: attention, then two layers at each position. */
export function blocks(
  net: Net,
  {root, count}: {root: string; count: number},
  sizes: BlockSizes,
  names: BlockNames,
  [states, mask]: [states: NetTensor, mask?: NetTensor],
): NetTensor {
  let x = states;
  for (let i = 0; i < count; i++) {
    const layer = nameOf(root, i);
    const inputs = mask === undefined ? [x] : [x, mask];
    x = net.block({name: `${layer}/block`, index: i, count}, inputs, ([input = null, ...seen]) =>
      block(net, layer, sizes, names, [input, ...seen]),
    );
  }
  return x;
}

function block(
  net: Net,
  layer: string,
  sizes: BlockSizes,
  {norms, attention, output, scales}: BlockNames,
  [input = null, ...mask]: NetTensor[],
): NetTensor {
  const {width, heads, size, epsilon, bias, causal = false} = sizes;
  const self = nameOf(layer, attention);
  const first = net.layerNorm(nameOf(layer, norms[0]), width, epsilon, [input]);
  const projected = ['q_proj', 'k_proj', 'v_proj'].map(name =>
    net.dense(nameOf(self, name), [width, heads * size], first, {bias}),
  );
  const attended = net.attention(self, [...projected, ...mask], {heads, causal});
  const scaled = (i: 0 | 1, x: NetTensor) =>
    scales === undefined ? x : layerScale(net, nameOf(layer, scales[i]), width, x);
  const own = scaled(0, net.dense(nameOf(self, output), [heads * size, width], attended));
  const middle = net.add(nameOf(self, 'sum'), [input, own]);
  const second = net.layerNorm(nameOf(layer, norms[1]), width, epsilon, [middle]);
  const mlp = nameOf(layer, 'mlp');
  const narrow = sizes.gated === true ? gated(net, mlp, sizes, second) : perceptron(net, mlp, sizes, second);
  return net.add(nameOf(mlp, 'sum'), [middle, scaled(1, narrow)]);
}

function layerScale(net: Net, name: string, width: number, x: NetTensor): NetTensor {
  net.expect(name, 'lambda1', [width], 'lambda1');
  return net.apply(name, [x], () => new LayerScale({name}));
}

/** Two layers and an activation between them. */
export function perceptron(
  net: Net,
  name: string,
  {width, inner, activation}: Pick<BlockSizes, 'width' | 'inner' | 'activation'>,
  x: NetTensor,
): NetTensor {
  const wide = net.dense(nameOf(name, 'fc1'), [width, inner], x);
  const active = net.activation(nameOf(name, 'activation_fn'), activation, wide);
  return net.dense(nameOf(name, 'fc2'), [inner, width], active);
}

/** Older files have the gate and what it lets through in one tensor. */
function gated(net: Net, name: string, {width, inner}: BlockSizes, x: NetTensor): NetTensor {
  const joined = fileNames(nameOf(name, 'weights_in'));
  const half = (part: string, index: number) =>
    net.dense(nameOf(name, part), [width, inner], x, {...joined, part: {index, of: 2}});
  const active = net.gate(nameOf(name, 'act_fn'), 'silu', [half('gate_proj', 0), half('up_proj', 1)]);
  return net.dense(nameOf(name, 'down_proj'), [inner, width], active);
}

/** The weight and the bias of a module in files, for where its layers have none of their own. */
export function fileNames(module: string): {orElse: string; biasOrElse: string} {
  return {orElse: fileNameOf(module, 'weight'), biasOrElse: fileNameOf(module, 'bias')};
}
