import {show} from '../../../platform/errors';
import {HUB_ACTIVATIONS, type ModelInputs, nameOf, type Purpose} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {LayerScale} from '../layers/visionLayers';
import {noSequence} from './convolutions';
import {type BlockModules, plainBlock} from './plainBlock';
import {type ActivationName, fileNameOf, type Net, type NetTensor} from '../net/net';

// Shared by families of image encoders, and by text encoders with the same blocks.

export interface ImageSizes {
  channels: number;
  patch: [height: number, width: number];
  /** The rows and columns of patches of an image of the config's size. */
  grid: [rows: number, columns: number];
}

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
  const sizeField = config.get(name);
  if (!Array.isArray(sizeField)) {
    const size = config.count(name, otherwise);
    return [size, size];
  }
  if (sizeField.length !== 2 || !sizeField.every(size => Number.isSafeInteger(size) && size > 0)) {
    config.fault(`${name} must be a positive integer, or two, height and width; got ${show(sizeField)}.`);
    return [1, 1];
  }
  return sizeField as [number, number];
}

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
  /** Whether keys have a bias. Default: as queries and values. */
  keyBias?: boolean;
  /** Whether a bias is added to scores; it is an input of blocks instead of a mask. Default: false. */
  isScored?: boolean;
}

export interface BlockNames {
  /** The normalizations before attention and before the feed-forward part. */
  norms: [string, string];
  attention: string;
  output: string;
  /** The layer scales of both parts, and their tensor, if it has another name than usual. */
  scales?: [string, string];
  tensor?: string;
}

/** The names of the modules in CLIP and similar models. */
export const CLIP_NAMES: BlockNames = {
  norms: ['layer_norm1', 'layer_norm2'],
  attention: 'self_attn',
  output: 'out_proj',
};

/** The names of the modules in ViT and similar models. */
export const VIT_NAMES: BlockNames = {
  norms: ['layernorm_before', 'layernorm_after'],
  attention: 'attention',
  output: 'o_proj',
};

/** The same names for a plain block. */
export const PATCH_MODULES: BlockModules = {
  ...{attention: 'attention', attended: 'attention/o_proj', norms: VIT_NAMES.norms, feedForward: 'mlp'},
  ...{wide: 'mlp/fc1', activation: 'mlp/activation_fn', narrow: 'mlp/fc2'},
};

/** The current name of an attention tensor; files from before transformers 5 have another one. */
export function attentionToday(name: string): string {
  return name
    .replace(
      /\.attention\.(?:attention|self)\.(query|key|value)\./,
      (_, projection: string) => `.attention.${projection.charAt(0)}_proj.`,
    )
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

interface ImageStates {
  /** How many tokens come before the patches, that of the class first. */
  tokens: number;
  mask?: NetTensor[];
  /** Default: the state of the first token. */
  pooler?: (name: string) => NetTensor;
}

/** The states of an image encoder, or their pooling. */
export function pooledPatches(
  net: Net,
  config: HubConfig,
  pooling: Purpose['pooling'],
  {tokens, mask = [], pooler = name => net.pool(name, 'first', [states])}: ImageStates,
  states: NetTensor,
): NetTensor {
  switch (pooling) {
    case 'none':
      return states;
    case 'first':
      return tokens === 0 ? noSequence(config, states) : net.pool('pooling', 'first', [states]);
    case 'mean':
      return net.pool('pooling', 'mean', [states, ...mask], {skip: tokens});
    case 'pooler':
      return pooler('pooling');
    case 'last':
      config.fault("The last patch does not represent an image. Choose another pooling, such as 'mean'.");
      return states;
  }
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

/** The states of a text encoder with such blocks. */
export function textStates(
  net: Net,
  config: HubConfig,
  root: string,
  {sizes, vocabulary, longest}: {sizes: BlockSizes; vocabulary: number; longest: number},
  {ids, mask}: ModelInputs,
): NetTensor {
  const {width, epsilon} = sizes;
  const rows = config.count('max_position_embeddings', longest);
  const embeddings = nameOf(root, 'embeddings');
  let x = net.embedding(nameOf(embeddings, 'token_embedding'), config.count('vocab_size', vocabulary), width, ids);
  x = net.positions(nameOf(embeddings, 'position_embedding'), {rows, width}, [x]);
  const count = config.count('num_hidden_layers', 12);
  x = blocks(net, {root: nameOf(root, 'encoder/layers'), count}, sizes, CLIP_NAMES, [x, mask]);
  return net.layerNorm(nameOf(root, 'final_layer_norm'), width, epsilon, [x]);
}

/** Blocks with normalizations before each part: attention, then two dense layers. */
export function blocks(
  net: Net,
  {root, count}: {root: string; count: number},
  sizes: BlockSizes,
  names: BlockNames,
  inputs: NetTensor[],
): NetTensor {
  return net.blocks(root, count, inputs, (layer, [input = null, ...mask]) =>
    patchBlock(net, layer, sizes, names, input, mask),
  );
}

/** One of these blocks. */
export function patchBlock(
  net: Net,
  layer: string,
  sizes: BlockSizes,
  {norms, attention, output, scales, tensor}: BlockNames,
  input: NetTensor,
  mask: readonly NetTensor[],
): NetTensor {
  const {width, heads, size, bias, keyBias = bias, causal = false, isScored = false, gated: isGated = false} = sizes;
  const [self, mlp] = [nameOf(layer, attention), nameOf(layer, 'mlp')];
  const attend = (x: NetTensor) => {
    const projected = ['q_proj', 'k_proj', 'v_proj'].map(name =>
      net.dense(nameOf(self, name), [width, heads * size], x, {bias: name === 'k_proj' ? keyBias : bias}),
    );
    return net.attention(self, [...projected, ...mask], {heads, causal, bias: isScored});
  };
  const modules = {...PATCH_MODULES, attention, attended: nameOf(attention, output), norms};
  return plainBlock(
    net,
    layer,
    {
      ...{...sizes, modules, order: 'before', attend, attendedWidth: heads * size},
      ...(isGated && {feed: x => gated(net, mlp, sizes, x)}),
      behind: (part, x) => (scales ? layerScale(net, nameOf(layer, scales[part]), width, x, tensor) : x),
    },
    input,
  );
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

function gated(net: Net, name: string, {width, inner}: BlockSizes, x: NetTensor): NetTensor {
  const joined = fileNames(nameOf(name, 'weights_in'));
  const half = (projection: string, index: number) =>
    net.dense(nameOf(name, projection), [width, inner], x, {...joined, rowSlice: {index, of: 2}});
  const active = net.gate(nameOf(name, 'act_fn'), 'silu', [half('gate_proj', 0), half('up_proj', 1)]);
  return net.dense(nameOf(name, 'down_proj'), [inner, width], active);
}

/** The weight and the bias of a module in files, for layers without their own. */
export function fileNames(module: string): {orElse: string; biasOrElse: string} {
  return {orElse: fileNameOf(module, 'weight'), biasOrElse: fileNameOf(module, 'bias')};
}
