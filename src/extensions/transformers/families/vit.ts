import {type Architecture, HUB_ACTIVATIONS, nameOf, OF_IMAGES} from '../net/architecture';
import {blocks, blockSizes, imageSizes, pooledPatches, VIT_NAMES, vitNameToday} from './patchBlocks';
import {patches, patchSequence} from './patches';

/** The differences between ViT and DeiT. */
interface Variant {
  prefix: string;
  classes: Architecture['classes'];
  /** The names of the tokens before the patches. */
  tokens: readonly string[];
}

/** ViT: the patches of an image as a sequence after a class token. (Dosovitskiy et al., arXiv 2010.11929.) */
export const vit = viT({
  prefix: 'vit',
  classes: {ViTModel: 'none', ViTForImageClassification: 'classes'},
  tokens: ['cls_token'],
});

/** Builds ViT or a variant. */
export function viT({prefix, classes, tokens}: Variant): Architecture {
  return {
    prefix,
    classes,
    ...OF_IMAGES,
    unused: /^embeddings\.mask_token$/,
    uncomputed: /^pooler\./,
    renamed: vitNameToday,
    blocks: config => config.count('num_hidden_layers', 12),
    build: (net, config, {pixels}, {head, pooling, labels, isNew}) => {
      const {channels, patch, grid} = imageSizes(config, 16);
      const usual = blockSizes(config, {width: 768, heads: 12, inner: 3072, epsilon: 1e-12, activation: 'gelu'});
      const sizes = {...usual, size: config.count('head_dim', usual.size), bias: config.flag('qkv_bias', true)};
      const {width, epsilon} = sizes;
      const root = head === 'none' ? '' : prefix;
      const embeddings = nameOf(root, 'embeddings');
      let x = patches(net, nameOf(embeddings, 'patch_embeddings/projection'), {channels, width, size: patch}, pixels);
      x = patchSequence(net, embeddings, {grid, width, tokens, positions: 'position_embeddings'}, x);
      const count = config.count('num_hidden_layers', 12);
      x = blocks(net, {root: nameOf(root, 'layers'), count}, sizes, VIT_NAMES, [x]);
      x = net.layerNorm(nameOf(root, 'layernorm'), width, epsilon, [x]);
      const start = isNew ? {fresh: config.number('initializer_range', 0.02, 1)} : {};
      const stateAt = (position: number, name: string) => net.pool(name, 'first', [x], {skip: position});
      if (head === 'classes') {
        return net.dense('classifier', [width, labels], stateAt(0, 'classifier/first'), start);
      }
      if (head === 'taught') {
        const both = ['cls_classifier', 'distillation_classifier'].map((name, i) =>
          net.dense(name, [width, labels], stateAt(i, `${name}/state`), start),
        );
        return net.average('classifiers', both);
      }
      const pooler = () => {
        const out = config.countOr('pooler_output_size', width);
        const dense = net.dense('pooler/dense', [width, out], stateAt(0, 'pooler/first'));
        const activation = config.choice('pooler_act', {...HUB_ACTIVATIONS, tanh: 'tanh' as const}, 'tanh');
        return net.activation('pooler/activation', activation, dense);
      };
      return pooledPatches(net, config, pooling, {tokens: tokens.length, pooler}, x);
    },
  };
}
