import {type Architecture, type ModelInputs, nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {LearnedQuery, ScaledCosines} from '../layers/pairLayers';
import {fileNameOf, type Net, type NetTensor} from '../net/net';
import {blocks, blockSizes, type BlockSizes, CLIP_NAMES, perceptron, pooledPatches, textStates} from './patchBlocks';
import {pooledStates} from './pooling';

// Shared by SigLIP and SigLIP 2: an image encoder and a text encoder, whose vectors are compared.

/** How a family gets its sequence of patches. */
interface Variant {
  /** What the names of its classes begin with. In lower case it is the `model_type`. */
  name: 'Siglip' | 'Siglip2';
  /** The patches of images with their positions, `[batch, patches, width]`, from the module `embeddings`. */
  embedded(net: Net, config: HubConfig, embeddings: string, width: number, inputs: ModelInputs): NetTensor;
  /** The number of values of a patch, if patches are the input. They have a mask then. */
  patchValues?: (config: HubConfig) => number;
}

/** The architecture with both encoders, or the image encoder alone, and that of the text encoder. */
export function siglipEncoders(variant: Variant): {images: Architecture; texts: Architecture} {
  const {name, patchValues} = variant;
  /** Whether a config has both encoders. */
  const isWhole = (config: HubConfig) => config.get('model_type') === name.toLowerCase();
  const visionConfig = (config: HubConfig) => (isWhole(config) ? config.section('vision_config') : config);
  const textConfig = (config: HubConfig) => (isWhole(config) ? config.section('text_config') : config);
  const images: Architecture = {
    prefix: 'vision_model',
    classes: {[`${name}Model`]: 'pairs', [`${name}VisionModel`]: 'none', [`${name}ForImageClassification`]: 'classes'},
    takes: head => (head === 'pairs' ? 'pairs' : 'images'),
    unused: /^(text_model|logit_scale|logit_bias)(\.|$)/,
    uncomputed: /^head\./,
    blocks: config => blocksOf(visionConfig(config)) + (isWhole(config) ? blocksOf(textConfig(config)) : 0),
    channels: config => visionConfig(config).count('num_channels', 3),
    ...(patchValues && {patchValues: config => patchValues(visionConfig(config))}),
    vocabulary: config => textConfig(config).count('vocab_size', TEXTS.vocabulary),
    build: (net, pairConfig, inputs, {head, pooling, labels, isNew}) => {
      const config = visionConfig(pairConfig);
      const sizes = siglipSizes(config);
      const {width} = sizes;
      const root = head === 'none' ? '' : 'vision_model';
      const embedded = variant.embedded(net, config, nameOf(root, 'embeddings'), width, inputs);
      const mask = patchValues === undefined ? [] : [inputs.patchMask];
      const x = imageStates(net, config, root, sizes, [embedded, ...mask]);
      if (head === 'pairs') {
        const image = pooledImage(net, config, root, sizes, [x, ...mask]);
        return pairs(net, textConfig(pairConfig), inputs, {image, width});
      }
      if (head === 'classes') {
        const start = isNew ? {fresh: 1 / Math.sqrt(width)} : {};
        return net.dense('classifier', [width, labels], net.pool('classifier/mean', 'mean', [x, ...mask]), start);
      }
      const pooler = () => pooledImage(net, config, root, sizes, [x, ...mask]);
      return pooledPatches(net, config, pooling, {tokens: 0, mask, pooler}, x);
    },
  };
  const texts: Architecture = {
    prefix: 'text_model',
    classes: {[`${name}TextModel`]: 'none'},
    unused: /^(vision_model|logit_scale|logit_bias)(\.|$)/,
    uncomputed: /^head\./,
    blocks: config => blocksOf(textConfig(config)),
    vocabulary: config => textConfig(config).count('vocab_size', TEXTS.vocabulary),
    positions: config => textConfig(config).count('max_position_embeddings', TEXTS.longest),
    build: (net, pairConfig, inputs, {pooling}) => {
      const config = textConfig(pairConfig);
      const sizes = siglipSizes(config);
      const x = textStates(net, config, '', {sizes, ...TEXTS}, inputs);
      return pooledStates(net, config, pooling, [x, inputs.mask], () => pooledText(net, config, '', sizes, x));
    },
  };
  return {images, texts};
}

const TEXTS = {vocabulary: 32_000, longest: 64};

function blocksOf(config: HubConfig): number {
  return config.count('num_hidden_layers', 12);
}

function siglipSizes(config: HubConfig): BlockSizes {
  const defaults = {width: 768, heads: 12, inner: 3072, epsilon: 1e-6, activation: 'gelu_pytorch_tanh'};
  const sizes = blockSizes(config, defaults);
  config.expectMultiple(['hidden_size', sizes.width], ['num_attention_heads', sizes.heads]);
  return sizes;
}

function imageStates(
  net: Net,
  config: HubConfig,
  root: string,
  sizes: BlockSizes,
  inputs: [states: NetTensor, ...mask: NetTensor[]],
): NetTensor {
  const count = blocksOf(config);
  const x = blocks(net, {root: nameOf(root, 'encoder/layers'), count}, sizes, CLIP_NAMES, inputs);
  return net.layerNorm(nameOf(root, 'post_layernorm'), sizes.width, sizes.epsilon, [x]);
}

/** The state of the last position. Texts must be padded to the full length. */
function pooledText(net: Net, config: HubConfig, root: string, {width}: BlockSizes, x: NetTensor): NetTensor {
  const to = config.countOr('projection_size', width);
  return net.dense(nameOf(root, 'head'), [width, to], net.pool(nameOf(root, 'last'), 'last', [x]));
}

/** Scaled cosines of each image with each text, plus a bias. */
function pairs(
  net: Net,
  config: HubConfig,
  inputs: ModelInputs,
  {image, width}: {image: NetTensor; width: number},
): NetTensor {
  const sizes = siglipSizes(config);
  const to = config.countOr('projection_size', sizes.width);
  if (to !== width) {
    config.fault(`projection_size of texts must be hidden_size of images, ${width}, got ${to}.`);
  }
  const states = textStates(net, config, 'text_model', {sizes, ...TEXTS}, inputs);
  const text = pooledText(net, config, 'text_model', sizes, states);
  const name = 'logits_per_image';
  net.expect(name, '', [1], 'scale', {fileName: 'logit_scale'});
  net.expect(name, '', [1], 'bias', {fileName: 'logit_bias'});
  return net.apply(name, [image, text], () => new ScaledCosines({bias: true, name}));
}

/** A learned query that attends to all patches, followed by two dense layers. */
function pooledImage(
  net: Net,
  config: HubConfig,
  root: string,
  sizes: BlockSizes,
  [x = null, ...mask]: NetTensor[],
): NetTensor {
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
      rowSlice: {index, of: 3, joined: true},
    }),
  );
  const attended = net.attention(nameOf(head, 'attention'), [...projected, ...mask], {heads});
  const out = net.dense(nameOf(head, 'attention/out_proj'), [width, width], attended);
  const normal = net.layerNorm(nameOf(head, 'layernorm'), width, epsilon, [out]);
  const sum = net.add(nameOf(head, 'sum'), [out, perceptron(net, nameOf(head, 'mlp'), sizes, normal)]);
  return net.pool(root === '' ? 'pooling' : nameOf(head, 'state'), 'first', [sum]);
}
