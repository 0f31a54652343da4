import * as tf from '@tensorflow/tfjs';
import {type Architecture, nameOf} from '../net/architecture';
import type {NetTensor} from '../net/net';
import {blocks, blockSizes, pooledPatches, VIT_NAMES, vitNameToday} from './patchBlocks';
import {patches, patchSequence} from './patches';

const BINS = 128;

/**
 * AST, the Audio Spectrogram Transformer: a ViT on overlapping patches of a spectrogram, for audio classification.
 * (Gong et al., arXiv 2104.01778.)
 */
export const ast: Architecture = {
  prefix: 'audio_spectrogram_transformer',
  classes: {ASTModel: 'none', ASTForAudioClassification: 'classes'},
  takes: () => 'spectrograms',
  renamed: vitNameToday,
  blocks: config => config.count('num_hidden_layers', 12),
  channels: config => config.count('num_mel_bins', BINS),
  build: (net, config, {sound}, {head, pooling, labels, isNew}) => {
    config.expect('is_causal', false);
    const shared = blockSizes(config, {width: 768, heads: 12, inner: 3072, epsilon: 1e-12, activation: 'gelu'});
    const sizes = {...shared, size: config.count('head_dim', shared.size), bias: config.flag('qkv_bias', true)};
    const {width, epsilon} = sizes;
    const patch = config.count('patch_size', 16);
    const bins = config.count('num_mel_bins', BINS);
    const strides: [number, number] = [config.count('frequency_stride', 10), config.count('time_stride', 10)];
    const edges = [bins, config.count('max_length', 1024)];
    const grid = edges.map((edge, i) => Math.floor((edge - patch) / (strides[i] ?? 1)) + 1) as [number, number];
    if (edges.some(edge => edge < patch)) {
      config.fault(`num_mel_bins, ${bins}, and max_length, ${edges[1]}, must be at least patch_size, ${patch}.`);
    }
    const root = head === 'none' ? '' : 'audio_spectrogram_transformer';
    const embeddings = nameOf(root, 'embeddings');
    const [turned, image] = ['transposed', 'image'].map(name => nameOf(embeddings, name)) as [string, string];
    const byBin = net.apply(turned, [sound], () => tf.layers.permute({dims: [2, 1], name: turned}));
    const pixels = net.apply(image, [byBin], () => tf.layers.reshape({targetShape: [bins, -1, 1], name: image}));
    const projection = nameOf(embeddings, 'patch_embeddings/projection');
    const cut = patches(net, projection, {channels: 1, width, size: [patch, patch], strides}, pixels);
    const tokens = ['cls_token', 'distillation_token'];
    let x = patchSequence(net, embeddings, {grid, width, tokens, positions: 'position_embeddings'}, cut);
    const count = config.count('num_hidden_layers', 12);
    x = blocks(net, {root: nameOf(root, 'layers'), count}, sizes, VIT_NAMES, [x]);
    x = net.layerNorm(nameOf(root, 'layernorm'), width, epsilon, [x]);
    const stateAt = (position: number, name: string) => net.pool(name, 'first', [x], {skip: position});
    const pooled = (): NetTensor =>
      net.average(
        'pooling',
        tokens.map((_, i) => stateAt(i, `pooling/state_${i}`)),
      );
    if (head === 'classes') {
      const start = isNew ? {fresh: config.number('initializer_range', 0.02, 1)} : {};
      const normal = net.layerNorm('classifier/layernorm', width, epsilon, [pooled()], {fresh: isNew});
      return net.dense('classifier/dense', [width, labels], normal, start);
    }
    return pooledPatches(net, config, pooling, {tokens: tokens.length, pooler: pooled}, x);
  },
};
