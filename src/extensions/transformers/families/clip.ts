import {type Architecture, type ModelInputs, nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {ScaledCosines, TokenState} from '../layers/pairLayers';
import type {Net, NetTensor} from '../net/net';
import {blocks, blockSizes, type BlockSizes, CLIP_NAMES, imageSizes, pooledPatches, textStates} from './patchBlocks';
import {patches, patchSequence} from './patches';
import {pooledStates} from './pooling';

// CLIP: an image encoder and a text encoder, whose vectors are compared. (Radford et al., arXiv 2103.00020.)

/** All of CLIP, and its image encoder. */
export const clip: Architecture = {
  prefix: 'vision_model',
  classes: {
    CLIPModel: 'pairs',
    CLIPVisionModel: 'none',
    CLIPVisionModelWithProjection: 'projection',
    CLIPForImageClassification: 'classes',
  },
  takes: head => (head === 'pairs' ? 'pairs' : 'images'),
  unused: /^(text_model|text_projection|visual_projection|logit_scale)(\.|$)/,
  uncomputed: /^post_layernorm\./,
  blocks: config => blocksOf(visionConfig(config)) + (isWhole(config) ? blocksOf(textConfig(config)) : 0),
  channels: config => visionConfig(config).count('num_channels', 3),
  vocabulary: config => textConfig(config).count('vocab_size', VOCABULARY),
  build: (net, pairConfig, inputs, {head, pooling, labels, isNew}) => {
    const config = visionConfig(pairConfig);
    const {states, sizes} = imageStates(net, config, head === 'none' ? '' : 'vision_model', inputs.pixels);
    const {width} = sizes;
    switch (head) {
      case 'pairs':
        return pairs(net, pairConfig, inputs, pooledImage(net, 'vision_model', sizes, states), width);
      case 'projection': {
        const to = config.count('projection_dim', 512);
        const pooled = pooledImage(net, 'vision_model', sizes, states);
        return net.dense('visual_projection', [width, to], pooled, {bias: false});
      }
      case 'classes': {
        const start = isNew ? {fresh: 1 / Math.sqrt(width)} : {};
        const mean = net.pool('classifier/mean', 'mean', [states], {skip: 1});
        return net.dense('classifier', [width, labels], mean, start);
      }
    }
    const pooler = () => pooledImage(net, '', sizes, states);
    return pooledPatches(net, config, pooling, {tokens: 1, pooler}, states);
  },
};

export const clipText: Architecture = {
  prefix: 'text_model',
  classes: {CLIPTextModel: 'none', CLIPTextModelWithProjection: 'projection'},
  unused: /^(vision_model|text_projection|visual_projection|logit_scale)(\.|$)/,
  blocks: config => blocksOf(textConfig(config)),
  vocabulary: config => textConfig(config).count('vocab_size', VOCABULARY),
  positions: config => textConfig(config).count('max_position_embeddings', POSITIONS),
  build: (net, pairConfig, inputs, {head, pooling}) => {
    const config = textConfig(pairConfig);
    const {states, width, end} = statesOfText(net, config, head === 'none' ? '' : 'text_model', inputs);
    if (head === 'projection') {
      const to = config.count('projection_dim', 512);
      return net.dense('text_projection', [width, to], pooledText(net, end, states, inputs), {bias: false});
    }
    return pooledStates(net, config, pooling, [states, inputs.mask], () => pooledText(net, end, states, inputs));
  },
};

const VOCABULARY = 49408;
const POSITIONS = 77;

/** Whether a config has both encoders. */
function isWhole(config: HubConfig): boolean {
  return config.get('model_type') === 'clip';
}

function visionConfig(config: HubConfig): HubConfig {
  return isWhole(config) ? sectionOf(config, 'vision_config') : config;
}

function textConfig(config: HubConfig): HubConfig {
  return isWhole(config) ? sectionOf(config, 'text_config') : config;
}

/** Older files also have the settings under a second name, which takes precedence. */
function sectionOf(config: HubConfig, name: string): HubConfig {
  return config.section(config.get(`${name}_dict`) == null ? name : `${name}_dict`);
}

function blocksOf(config: HubConfig): number {
  return config.count('num_hidden_layers', 12);
}

function clipSizes(config: HubConfig, width: number, heads: number): BlockSizes {
  const sizes = blockSizes(config, {width, heads, inner: 4 * width, epsilon: 1e-5, activation: 'quick_gelu'});
  config.expectMultiple(['hidden_size', sizes.width], ['num_attention_heads', sizes.heads]);
  return sizes;
}

function imageStates(
  net: Net,
  config: HubConfig,
  root: string,
  pixels: NetTensor,
): {states: NetTensor; sizes: BlockSizes} {
  const {channels, patch, grid} = imageSizes(config, 32);
  const sizes = clipSizes(config, 768, 12);
  const {width, epsilon} = sizes;
  const embeddings = nameOf(root, 'embeddings');
  const cut = {channels, width, size: patch, bias: false};
  const sequence = {grid, width, isFlat: true, tokens: ['class_embedding'], positions: 'position_embedding.weight'};
  let x = patches(net, nameOf(embeddings, 'patch_embedding'), cut, pixels);
  x = patchSequence(net, embeddings, sequence, x);
  x = net.layerNorm(nameOf(root, 'pre_layrnorm'), width, epsilon, [x]);
  const count = blocksOf(config);
  return {states: blocks(net, {root: nameOf(root, 'encoder/layers'), count}, sizes, CLIP_NAMES, [x]), sizes};
}

/** The normalized state of the class token. */
function pooledImage(net: Net, root: string, {width, epsilon}: BlockSizes, states: NetTensor): NetTensor {
  const first = net.pool(nameOf(root, 'first'), 'first', [states]);
  return net.layerNorm(nameOf(root, 'post_layernorm'), width, epsilon, [first]);
}

function statesOfText(
  net: Net,
  config: HubConfig,
  root: string,
  inputs: ModelInputs,
): {states: NetTensor; width: number; end: number} {
  const end = config.get('eos_token_id') === undefined ? 49_407 : config.nonNegative('eos_token_id');
  const sizes = {...clipSizes(config, 512, 8), causal: true};
  config.expect('is_causal', true);
  const states = textStates(net, config, root, {sizes, vocabulary: VOCABULARY, longest: POSITIONS}, inputs);
  return {states, width: sizes.width, end};
}

/**
 * The state of the end-of-text token. In the first files the config says 2, which is wrong: there it is the largest id
 * in the text.
 */
function pooledText(net: Net, end: number, states: NetTensor, {ids}: ModelInputs): NetTensor {
  const token = end === 2 ? null : end;
  return net.apply('text_end', [states, ids], () => new TokenState({token, name: 'text_end'}));
}

/** Scaled cosines of each image with each text. */
function pairs(net: Net, config: HubConfig, inputs: ModelInputs, image: NetTensor, width: number): NetTensor {
  const settings = textConfig(config);
  const text = statesOfText(net, settings, 'text_model', inputs);
  const to = config.count('projection_dim', 512);
  const pooled = pooledText(net, text.end, text.states, inputs);
  const ofText = net.dense('text_projection', [text.width, to], pooled, {bias: false});
  const imageVector = net.dense('visual_projection', [width, to], image, {bias: false});
  const name = 'logits_per_image';
  net.expect(name, '', [], 'scale', {fileName: 'logit_scale'});
  return net.apply(name, [imageVector, ofText], () => new ScaledCosines({name}));
}
