import {type Architecture, HUB_ACTIVATIONS, nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {ActivationName, Net, NetTensor} from '../net/net';
import {perceptron} from './patchBlocks';
import {timeConvolution} from './soundConvolutions';

const BINS = 80;
const EPSILON = 1e-5;

/**
 * Whisper: an encoder of log-mel spectrograms, and a decoder that attends to it and generates the transcript. The audio
 * classification model has only the encoder. (Radford et al., arXiv 2212.04356.)
 */
export const whisper: Architecture = {
  prefix: 'model',
  classes: {
    WhisperModel: 'none',
    WhisperForConditionalGeneration: 'tokens',
    WhisperForAudioClassification: 'classes',
  },
  takes: head => (head === 'classes' ? 'spectrograms' : 'speech'),
  commonNames: {
    d_model: 'hidden_size',
    encoder_attention_heads: 'num_attention_heads',
    encoder_layers: 'num_hidden_layers',
  },
  blocks: config => config.count('encoder_layers', 4) + config.count('decoder_layers', 4),
  channels: config => config.count('num_mel_bins', BINS),
  vocabulary: config => config.count('vocab_size', 51_865),
  positions: config => config.count('max_target_positions', 448),
  build: (net, config, {sound, ids}, {head, pooling, labels, isNew}) => {
    const root = head === 'tokens' ? 'model' : '';
    const width = config.count('d_model', 384);
    const activation = config.choice('activation_function', HUB_ACTIVATIONS, 'gelu');
    config.expect('scale_embedding', false);
    config.expect('is_causal', null);
    const encoder = blockSizes(config, 'encoder', {width, activation});
    config.expect('num_key_value_heads', encoder.heads);
    const heard = encoded(net, config, nameOf(root, 'encoder'), encoder, sound);
    if (head === 'classes') {
      config.expect('use_weighted_layer_sum', false);
      const start = isNew ? {fresh: config.number('init_std', 0.02, 1)} : {};
      const size = config.count('classifier_proj_size', 256);
      const projected = net.dense('projector', [width, size], heard, start);
      return net.dense('classifier', [size, labels], net.pool('pooling', 'mean', [projected]), start);
    }
    const decoder = blockSizes(config, 'decoder', {width, activation});
    const tokenEmbedding = nameOf(root, 'decoder/embed_tokens');
    const vocabulary = config.count('vocab_size', 51_865);
    const x = decoded(net, config, nameOf(root, 'decoder'), {...decoder, vocabulary}, [ids, heard]);
    if (pooling !== 'none') {
      config.fault('Whisper returns the states of the decoder. Leave out pooling.');
    }
    if (head === 'none') {
      return x;
    }
    return config.flag('tie_word_embeddings', true)
      ? net.tied('proj_out', tokenEmbedding, [width, vocabulary], x)
      : net.dense('proj_out', [width, vocabulary], x, {bias: false});
  },
};

/** The sizes of the blocks of the encoder or the decoder. */
interface Sizes {
  width: number;
  heads: number;
  inner: number;
  count: number;
  activation: ActivationName;
}

function blockSizes(
  config: HubConfig,
  side: 'encoder' | 'decoder',
  shared: {width: number; activation: ActivationName},
): Sizes {
  const heads = config.count(`${side}_attention_heads`, 6);
  config.expectMultiple(['d_model', shared.width], [`${side}_attention_heads`, heads]);
  const inner = config.count(`${side}_ffn_dim`, 1536);
  return {...shared, heads, inner, count: config.count(`${side}_layers`, 4)};
}

/** Two convolutions, the second of which halves the number of frames, and the blocks of the encoder. */
function encoded(net: Net, config: HubConfig, root: string, sizes: Sizes, sound: NetTensor): NetTensor {
  const {width} = sizes;
  const bins = config.count('num_mel_bins', BINS);
  const convolved = (i: 1 | 2, from: number, x: NetTensor) => {
    const name = nameOf(root, `conv${i}`);
    const settings = {channels: [from, width] as const, size: 3, stride: i, padding: 1};
    return net.activation(nameOf(name, 'act'), 'gelu', timeConvolution(net, name, settings, x));
  };
  const rows = config.count('max_source_positions', 1500);
  const frames = convolved(2, width, convolved(1, bins, sound));
  let x = net.positions(nameOf(root, 'embed_positions'), {rows, width}, [frames]);
  x = net.blocks(nameOf(root, 'layers'), sizes.count, [x], (layer, [input = null]) =>
    feedForward(net, layer, sizes, attended(net, layer, 'self_attn', sizes, [input])),
  );
  return net.layerNorm(nameOf(root, 'layer_norm'), width, EPSILON, [x]);
}

/** The blocks of the decoder, which attend to earlier tokens and to all states of the encoder. */
function decoded(
  net: Net,
  config: HubConfig,
  root: string,
  sizes: Sizes & {vocabulary: number},
  [ids, heard]: [ids: NetTensor, heard: NetTensor],
): NetTensor {
  const {width, vocabulary} = sizes;
  const rows = config.count('max_target_positions', 448);
  const tokens = net.embedding(nameOf(root, 'embed_tokens'), vocabulary, width, ids);
  let x = net.positions(nameOf(root, 'embed_positions'), {rows, width}, [tokens]);
  x = net.blocks(nameOf(root, 'layers'), sizes.count, [x, heard], (layer, [input = null, states = null]) => {
    const selfAttended = attended(net, layer, 'self_attn', sizes, [input], true);
    return feedForward(net, layer, sizes, attended(net, layer, 'encoder_attn', sizes, [selfAttended, states]));
  });
  return net.layerNorm(nameOf(root, 'layer_norm'), width, EPSILON, [x]);
}

/** The sum of states and their attention to each other, or to the states of the encoder. Keys have no bias. */
function attended(
  net: Net,
  layer: string,
  module: 'self_attn' | 'encoder_attn',
  {width, heads}: Sizes,
  [x, heard]: [x: NetTensor, heard?: NetTensor],
  causal = false,
): NetTensor {
  const self = nameOf(layer, module);
  const normal = net.layerNorm(nameOf(layer, `${module}_layer_norm`), width, EPSILON, [x]);
  const source = heard === undefined ? normal : heard;
  const projected = (name: string, input: NetTensor, bias = true) =>
    net.dense(nameOf(self, name), [width, width], input, {bias});
  const parts = [projected('q_proj', normal), projected('k_proj', source, false), projected('v_proj', source)];
  const mixed = projected('out_proj', net.attention(self, parts, {heads, causal}));
  return net.add(nameOf(self, 'sum'), [x, mixed]);
}

function feedForward(net: Net, layer: string, sizes: Sizes, x: NetTensor): NetTensor {
  const normal = net.layerNorm(nameOf(layer, 'final_layer_norm'), sizes.width, EPSILON, [x]);
  return net.add(nameOf(layer, 'sum'), [x, perceptron(net, layer, sizes, normal)]);
}
