import {PatchBias} from '../layers/patchBias';
import {type Architecture, nameOf, OF_IMAGES} from '../net/architecture';
import type {Net, NetTensor} from '../net/net';
import {
  type BlockNames,
  blockSizes,
  expectSquare,
  hasLayerScale,
  imageSizes,
  patchBlock,
  pooledPatches,
  VIT_NAMES,
  vitNameToday,
} from './patchBlocks';
import {patches, patchSequence} from './patches';

/** BEiT: a ViT with a bias for the distance of patches. (Bao et al., arXiv 2106.08254.) */
export const beit: Architecture = {
  prefix: 'beit',
  classes: {BeitModel: 'none', BeitForImageClassification: 'classes'},
  ...OF_IMAGES,
  unused: /\.relative_position_index$/,
  uncomputed: /^embeddings\.mask_token$|^pooler\./,
  renamed: name =>
    vitNameToday(
      name
        .replace(/^encoder\.relative_position_bias\./, 'shared_position_bias.')
        .replace('.attention.attention.relative_position_bias.', '.relative_position_bias.'),
    ),
  blocks: config => config.count('num_hidden_layers', 12),
  build: (net, config, {pixels}, {head, pooling, labels, isNew}) => {
    const {channels, patch, grid} = imageSizes(config, 16);
    const shared = blockSizes(config, {width: 768, heads: 12, inner: 3072, epsilon: 1e-12, activation: 'gelu'});
    const {width, epsilon, heads} = shared;
    const hasScales = hasLayerScale(config);
    const names: BlockNames = {...VIT_NAMES, ...(hasScales && {scales: ['lambda_1', 'lambda_2'], tensor: ''})};
    const isPlaced = config.flag('use_absolute_position_embeddings', false);
    const [isShared, isOfBlock] = [
      config.flag('use_shared_relative_position_bias', false),
      config.flag('use_relative_position_bias', false),
    ];
    const ofScores = {keyBias: false, isScored: isShared || isOfBlock};
    const sizes = {...shared, ...ofScores, size: config.count('head_dim', shared.size)};
    const [edge] = grid;
    if (isPlaced || isShared || isOfBlock) {
      expectSquare(config, grid);
    }
    const isMean = config.flag('use_mean_pooling', true);
    const root = head === 'none' ? '' : 'beit';
    const embeddings = nameOf(root, 'embeddings');
    const projection = nameOf(embeddings, 'patch_embeddings/projection');
    const cut = patches(net, projection, {channels, width, size: patch}, pixels);
    const positions = isPlaced ? 'position_embeddings' : undefined;
    let x = patchSequence(net, embeddings, {grid, width, tokens: ['cls_token'], positions}, cut);
    const biasOf = (name: string, input: NetTensor) => patchBias(net, name, {edge, heads}, input);
    const bias = isShared ? [biasOf(nameOf(root, 'shared_position_bias'), cut)] : [];
    const inputs = [x, ...(isOfBlock ? [cut] : []), ...bias];
    const count = config.count('num_hidden_layers', 12);
    x = net.blocks(nameOf(root, 'layers'), count, inputs, (layer, [input = null, ...cutAndBiases]) => {
      const ofBlock = isOfBlock ? [biasOf(nameOf(layer, 'relative_position_bias'), cutAndBiases.shift() ?? null)] : [];
      const [first = null, second] = [...ofBlock, ...cutAndBiases];
      const both = second === undefined ? first : net.add(nameOf(layer, 'bias'), [first, second]);
      return patchBlock(net, layer, sizes, names, input, sizes.isScored ? [both] : []);
    });
    if (!isMean) {
      x = net.layerNorm(nameOf(root, 'layernorm'), width, epsilon, [x]);
    }
    const pooled = (name: string) =>
      isMean
        ? net.layerNorm(nameOf(root, 'pooler/layernorm'), width, epsilon, [net.pool(name, 'mean', [x], {skip: 1})])
        : net.pool(name, 'first', [x]);
    if (head === 'classes') {
      const start = isNew ? {fresh: config.number('initializer_range', 0.02, 1)} : {};
      return net.dense('classifier', [width, labels], pooled('classifier/state'), start);
    }
    return pooledPatches(net, config, pooling, {tokens: 1, pooler: pooled}, x);
  },
};

function patchBias(net: Net, name: string, args: {edge: number; heads: number}, x: NetTensor): NetTensor {
  const rows = (2 * args.edge - 1) ** 2 + 3;
  net.expect(name, 'relative_position_bias_table', [rows, args.heads], 'table');
  return net.apply(name, [x], () => new PatchBias({...args, name}));
}
