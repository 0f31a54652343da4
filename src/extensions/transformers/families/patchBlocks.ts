import {show} from '../../../platform/errors';
import {HUB_ACTIVATIONS, nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {LayerScale} from '../layers/visionLayers';
import {type ActivationName, fileNameOf, type Net, type NetTensor} from '../net/net';

// Shared by families of image encoders, and by text encoders with the same blocks.

/** The sizes of an image and its patches in a config. */
export interface ImageSizes {
  channels: number;
  patch: [height: number, width: number];
  /** The rows and columns of patches of an image of the config's size. */
  grid: [rows: number, columns: number];
}

/** Reads the image and patch sizes, each one number or a height and a width. */
export function imageSizes(config: HubConfig, patchSize: number): ImageSizes {
  config.expect('is_causal', false);
  const image = pairOf(config, 'image_size', 224);
  const patch = pairOf(config, 'patch_size', patchSize);
  const [rows, columns] = image.map((size, i) => Math.floor(size / (patch[i] ?? 1))) as [number, number];
  if (rows < 1 || columns < 1) {
    config.fault(`image_size ${image.join(' × ')} is smaller than patch_size ${patch.join(' × ')}.`);
  }
  return {channels: config.count('num_channels', 3), patch, grid: [Math.max(rows, 1), Math.max(columns, 1)]};
}

/** Reads a size, one number or a height and a width. */
export function pairOf(config: HubConfig, name: string, otherwise: number): [number, number] {
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

/** The sizes and settings of blocks. */
export interface BlockSizes {
  width: number;
  heads: number;
  /** The number of values in a head. Heads together may be wider or narrower than `width`. */
  size: number;
  inner: number;
  epsilon: number;
  activation: ActivationName;
  /** Whether queries, keys and values have biases. */
  bias: boolean;
  /** Whether the feed-forward layer is gated by silu. */
  gated?: boolean;
  causal?: boolean;
}

/** The names of the modules of a block. */
export interface BlockNames {
  /** The normalizations before attention and before the feed-forward part. */
  norms: [string, string];
  attention: string;
  output: string;
  /** The layer scales of both parts. */
  scales?: [string, string];
}

/** The names of the modules in CLIP and similar models. */
export const CLIP_NAMES: BlockNames = {
  norms: ['layer_norm1', 'layer_norm2'],
  attention: 'self_attn',
  output: 'out_proj',
};

/** The current name of an attention tensor; files from before transformers 5 have another one. */
export function attentionToday(name: string): string {
  return name
    .replace(/\.attention\.attention\.(query|key|value)\./, (_, part: string) => `.attention.${part.charAt(0)}_proj.`)
    .replace('.attention.output.dense.', '.attention.o_proj.');
}

/** The current name of a tensor of ViT and BEiT; files from before transformers 5 have another one. */
export function vitNameToday(name: string): string {
  return attentionToday(name)
    .replace(/^encoder\.layer\./, 'layers.')
    .replace('.intermediate.dense.', '.mlp.fc1.')
    .replace(/^(layers\.\d+)\.output\.dense\./, '$1.mlp.fc2.');
}

/** Faults a grid of patches that is not square. */
export function expectSquare(config: HubConfig, [rows, columns]: ImageSizes['grid']): void {
  if (rows !== columns) {
    config.fault(`image_size must have as many rows of patches as columns, got ${rows} × ${columns}.`);
  }
}

/** Refuses pooling by the last patch. */
export function noLast(config: HubConfig, x: NetTensor): NetTensor {
  config.fault("The last patch does not represent an image. Choose another pooling, such as 'mean'.");
  return x;
}

/** The defaults of configs. */
interface BlockDefaults {
  width: number;
  heads: number;
  inner: number;
  epsilon: number;
  activation: string;
}

/** Reads the fields that most configs share. */
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

/** Blocks with normalizations before each part: attention, then two dense layers. */
export function blocks(
  net: Net,
  {root, count}: {root: string; count: number},
  sizes: BlockSizes,
  names: BlockNames,
  [states, ...mask]: [states: NetTensor, ...mask: NetTensor[]],
): NetTensor {
  let x = states;
  for (let i = 0; i < count; i++) {
    const layer = nameOf(root, i);
    x = net.block({name: `${layer}/block`, index: i, count}, [x, ...mask], inputs =>
      block(net, layer, sizes, names, inputs),
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

/**
 * Multiplies each channel by a learned factor.
 *
 * @param tensor the name of the tensor in the module; `''` if the module itself is the tensor.
 */
export function layerScale(net: Net, name: string, width: number, x: NetTensor, tensor = 'lambda1'): NetTensor {
  net.expect(name, tensor, [width], 'lambda1', tensor === '' ? {fileName: name.replaceAll('/', '.')} : {});
  return net.apply(name, [x], () => new LayerScale({name}));
}

/** Whether blocks have layer scales: the config has the value that they begin with. */
export function hasLayerScale(config: HubConfig): boolean {
  const value = config.get('layer_scale_init_value');
  if (value !== undefined && typeof value !== 'number') {
    config.fault(`layer_scale_init_value must be a number, got ${show(value)}.`);
  }
  return value === undefined || Number(value) > 0;
}

/** Two dense layers and an activation between them. */
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

/** Older files have the gate and the values in one tensor. */
function gated(net: Net, name: string, {width, inner}: BlockSizes, x: NetTensor): NetTensor {
  const joined = fileNames(nameOf(name, 'weights_in'));
  const half = (part: string, index: number) =>
    net.dense(nameOf(name, part), [width, inner], x, {...joined, part: {index, of: 2}});
  const active = net.gate(nameOf(name, 'act_fn'), 'silu', [half('gate_proj', 0), half('up_proj', 1)]);
  return net.dense(nameOf(name, 'down_proj'), [inner, width], active);
}

/** The weight and the bias of a module in files, for layers without their own. */
export function fileNames(module: string): {orElse: string; biasOrElse: string} {
  return {orElse: fileNameOf(module, 'weight'), biasOrElse: fileNameOf(module, 'bias')};
}
