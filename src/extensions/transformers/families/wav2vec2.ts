import * as tf from '@tensorflow/tfjs';
import {HiddenPositions} from '../layers/hiddenPositions';
import {BlankFrames, ChannelNormalization, FrameMask, PositionalConvolution} from '../layers/soundFrames';
import {type Architecture, HUB_ACTIVATIONS, nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {Net, NetTensor} from '../net/net';
import {ctcSettings} from '../ops/ctc';
import {blockSizes, type BlockSizes} from './patchBlocks';
import {type BlockModules, plainBlock} from './plainBlock';
import {pooledStates} from './pooling';
import {timeConvolution} from './soundConvolutions';

/** The differences between wav2vec 2.0 and HuBERT. */
interface Variant {
  prefix: string;
  /** How the names of its classes begin. */
  name: string;
}

/**
 * wav2vec 2.0: convolutions make frames of samples, and blocks of attention follow, whose positions are a convolution
 * too. Heads: characters at each frame for CTC, and classes of a sound. (Baevski et al., arXiv 2006.11477.)
 */
export const wav2vec2 = framed({prefix: 'wav2vec2', name: 'Wav2Vec2'});

/** HuBERT, which has the same layers. (Hsu et al., arXiv 2106.07447.) */
export const hubert = framed({prefix: 'hubert', name: 'Hubert'});

const STRIDES = [5, 2, 2, 2, 2, 2, 2];
const KERNELS = [10, 3, 3, 3, 3, 2, 2];

function framed({prefix, name}: Variant): Architecture {
  return {
    prefix,
    classes: {[`${name}Model`]: 'none', [`${name}ForCTC`]: 'ctc', [`${name}ForSequenceClassification`]: 'classes'},
    takes: () => 'samples',
    /** Names of tensors that only pretraining uses. */
    unused: /^(quantizer|project_q|project_hid)\./,
    uncomputed: /^masked_spec_embed$/,
    renamed: name =>
      name.replace(/\.weight_([gv])$/, (_, letter) => `.parametrizations.weight.original${letter === 'g' ? 0 : 1}`),
    blocks: config => config.count('num_hidden_layers', 12),
    vocabulary: config => config.count('vocab_size', 32),
    build: (net, config, {sound, mask}, {head, pooling, labels, isNew}) => {
      for (const field of ['add_adapter', 'conv_pos_batch_norm', 'is_decoder']) {
        config.expect(field, false);
      }
      config.expect('adapter_attn_dim', null);
      const root = head === 'none' ? '' : prefix;
      const defaults = {width: 768, heads: 12, inner: 3072, epsilon: 1e-5, activation: 'gelu'};
      const sizes = blockSizes(config, defaults);
      const {width, heads} = sizes;
      config.expectMultiple(['hidden_size', width], ['num_attention_heads', heads]);
      const [frames, seen] = framesOf(net, config, root, [sound, mask]);
      const x = encoded(net, config, nameOf(root, 'encoder'), sizes, [
        projected(net, config, root, sizes, frames),
        seen,
      ]);
      if (head === 'ctc') {
        const vocabulary = config.count('vocab_size', 32);
        const fresh = isNew ? {fresh: config.number('initializer_range', 0.02, 1)} : {};
        const logits = net.dense('lm_head', [width, vocabulary], x, fresh);
        const blank = ctcSettings(config.asObject())?.blank;
        const name = 'blank_frames';
        return blank === undefined || blank >= vocabulary
          ? logits
          : net.apply(name, [logits, seen], () => new BlankFrames({blank, name}));
      }
      if (head === 'classes') {
        config.expect('use_weighted_layer_sum', false);
        const start = isNew ? {fresh: config.number('initializer_range', 0.02, 1)} : {};
        const size = config.count('classifier_proj_size', 256);
        const narrow = net.dense('projector', [width, size], x, start);
        return net.dense('classifier', [size, labels], net.pool('pooling', 'mean', [narrow, seen]), start);
      }
      return pooledStates(net, config, pooling, [x, seen]);
    },
  };
}

/** The frames of samples and their mask. */
function framesOf(
  net: Net,
  config: HubConfig,
  root: string,
  [sound, mask]: [sound: NetTensor, mask: NetTensor],
): [frames: NetTensor, seen: NetTensor] {
  const widths = config.counts('conv_dim', [512, 512, 512, 512, 512, 512, 512]);
  const strides = config.counts('conv_stride', STRIDES);
  const kernels = config.counts('conv_kernel', KERNELS);
  if (strides.length !== widths.length || kernels.length !== widths.length) {
    config.fault(`conv_stride and conv_kernel must have as many entries as conv_dim, ${widths.length}.`);
  }
  const bias = config.flag('conv_bias', false);
  const activation = config.choice('feat_extract_activation', HUB_ACTIVATIONS, 'gelu');
  const norms = config.choice('feat_extract_norm', {group: 'group', layer: 'layer'}, 'group');
  const samples = nameOf(root, 'samples');
  let x = net.apply(samples, [sound], () => tf.layers.reshape({targetShape: [-1, 1], name: samples}));
  widths.forEach((to, i) => {
    const layer = nameOf(root, 'feature_extractor/conv_layers', i);
    const settings = {
      channels: [widths[i - 1] ?? 1, to] as const,
      size: kernels[i] ?? 1,
      stride: strides[i] ?? 1,
      bias,
    };
    x = timeConvolution(net, nameOf(layer, 'conv'), settings, x);
    const norm = nameOf(layer, 'layer_norm');
    if (norms === 'layer') {
      x = net.layerNorm(norm, to, 1e-5, [x]);
    } else if (i === 0) {
      net.expect(norm, 'weight', [to], 'gamma');
      net.expect(norm, 'bias', [to], 'beta');
      x = net.apply(norm, [x], () => new ChannelNormalization({name: norm}));
    }
    x = net.activation(nameOf(layer, 'activation'), activation, x);
  });
  const masked = nameOf(root, 'frame_mask');
  return [x, net.apply(masked, [mask, x], () => new FrameMask({sizes: kernels, strides, name: masked}))];
}

function projected(net: Net, config: HubConfig, root: string, {width, epsilon}: BlockSizes, x: NetTensor): NetTensor {
  const name = nameOf(root, 'feature_projection');
  const from = config.counts('conv_dim', [512]).at(-1) ?? 1;
  const hasNorm = config.flag('feat_proj_layer_norm', true);
  const normal = hasNorm ? net.layerNorm(nameOf(name, 'layer_norm'), from, epsilon, [x]) : x;
  return net.dense(nameOf(name, 'projection'), [from, width], normal);
}

/** The blocks, with normalizations before each part (`do_stable_layer_norm`) or after. */
function encoded(
  net: Net,
  config: HubConfig,
  root: string,
  sizes: BlockSizes,
  [states, seen]: [states: NetTensor, seen: NetTensor],
): NetTensor {
  const {width, epsilon} = sizes;
  const isBefore = config.flag('do_stable_layer_norm', false);
  const hidden = nameOf(root, 'hidden');
  const shown = net.apply(hidden, [states, seen], () => new HiddenPositions({name: hidden}));
  const normal = (x: NetTensor) => net.layerNorm(nameOf(root, 'layer_norm'), width, epsilon, [x]);
  const placed = net.add(nameOf(root, 'sum'), [shown, positions(net, config, root, width, shown)]);
  const count = config.count('num_hidden_layers', 12);
  const inputs = [isBefore ? placed : normal(placed), seen];
  const x = net.blocks(nameOf(root, 'layers'), count, inputs, (layer, [input = null, mask = null]) =>
    wav2vec2Block(net, layer, {...sizes, isBefore}, [input, mask]),
  );
  return isBefore ? normal(x) : x;
}

function positions(net: Net, config: HubConfig, root: string, width: number, x: NetTensor): NetTensor {
  const name = nameOf(root, 'pos_conv_embed/conv');
  const size = config.count('num_conv_pos_embeddings', 128);
  const groups = config.count('num_conv_pos_embedding_groups', 16);
  config.expectMultiple(['hidden_size', width], ['num_conv_pos_embedding_groups', groups]);
  const shape = [width, Math.floor(width / groups), size];
  net.expect(name, 'parametrizations.weight.original0', [1, 1, size], 'magnitude', {axes: [2, 1, 0]});
  net.expect(name, 'parametrizations.weight.original1', shape, 'direction', {axes: [2, 1, 0]});
  net.expect(name, 'bias', [width], 'bias');
  const convolved = net.apply(name, [x], () => new PositionalConvolution({size, groups, name}));
  const activation = config.choice('feat_extract_activation', HUB_ACTIVATIONS, 'gelu');
  return net.activation(nameOf(root, 'pos_conv_embed/activation'), activation, convolved);
}

function wav2vec2Block(
  net: Net,
  layer: string,
  {isBefore, ...sizes}: BlockSizes & {isBefore: boolean},
  [input, mask]: [input: NetTensor, mask: NetTensor],
): NetTensor {
  const {width, heads} = sizes;
  const self = nameOf(layer, 'attention');
  const attend = (x: NetTensor) => {
    const parts = ['q_proj', 'k_proj', 'v_proj'].map(name => net.dense(nameOf(self, name), [width, width], x));
    return net.attention(self, [...parts, mask], {heads});
  };
  return plainBlock(net, layer, {...sizes, modules: MODULES, order: isBefore ? 'before' : 'after', attend}, input);
}

const MODULES: BlockModules = {
  ...{attention: 'attention', attended: 'attention/out_proj', norms: ['layer_norm', 'final_layer_norm']},
  ...{feedForward: 'feed_forward', wide: 'feed_forward/intermediate_dense', activation: 'feed_forward/activation'},
  narrow: 'feed_forward/output_dense',
};
