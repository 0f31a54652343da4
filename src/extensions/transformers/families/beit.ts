import {PatchBias} from '../layers/patchBias';
import {type Architecture, nameOf} from '../net/architecture';
import type {InFile, Net, NetTensor} from '../net/net';
import {
  blockSizes,
  type BlockSizes,
  expectSquare,
  hasLayerScale,
  imageSizes,
  layerScale,
  noLast,
  perceptron,
  vitNameToday,
} from './patchBlocks';
import {patches, patchSequence} from './patches';

/** BEiT: a ViT with a bias for the distance of patches. (Bao et al., arXiv 2106.08254.) */
export const beit: Architecture = {
  prefix: 'beit',
  classes: {BeitModel: 'none', BeitForImageClassification: 'classes'},
  takes: () => 'images',
  commonNames: {},
  unused: /\.relative_position_index$/,
  uncomputed: /^embeddings\.mask_token$|^pooler\./,
  renamed: name =>
    vitNameToday(
      name
        .replace(/^encoder\.relative_position_bias\./, 'shared_position_bias.')
        .replace('.attention.attention.relative_position_bias.', '.relative_position_bias.'),
    ),
  blocks: config => config.count('num_hidden_layers', 12),
  channels: config => config.count('num_channels', 3),
  build: (net, config, {pixels}, {head, pooling, labels, isNew}) => {
    const {channels, patch, grid} = imageSizes(config, 16);
    const shared = blockSizes(config, {width: 768, heads: 12, inner: 3072, epsilon: 1e-12, activation: 'gelu'});
    const sizes = {...shared, size: config.count('head_dim', shared.size), isScaled: hasLayerScale(config)};
    const {width, epsilon, heads} = sizes;
    const isPlaced = config.flag('use_absolute_position_embeddings', false);
    const [isShared, isOfBlock] = [
      config.flag('use_shared_relative_position_bias', false),
      config.flag('use_relative_position_bias', false),
    ];
    const [edge] = grid;
    if (isPlaced || isShared || isOfBlock) {
      expectSquare(config, grid);
    }
    const isMean = config.flag('use_mean_pooling', true);
    const root = head === 'none' ? '' : 'beit';
    const embeddings = nameOf(root, 'embeddings');
    const inFile = (name: string, rows: number): InFile => [name, [1, rows, width]];
    const projection = nameOf(embeddings, 'patch_embeddings/projection');
    const cut = patches(net, projection, {channels, width, size: patch}, pixels);
    const positions = isPlaced ? inFile('position_embeddings', 1 + grid[0] * grid[1]) : undefined;
    let x = patchSequence(net, embeddings, {grid, tokens: [inFile('cls_token', 1)], positions}, cut);
    const biasOf = (name: string, input: NetTensor) => patchBias(net, name, {edge, heads}, input);
    const bias = isShared ? [biasOf(nameOf(root, 'shared_position_bias'), cut)] : [];
    const count = config.count('num_hidden_layers', 12);
    for (let i = 0; i < count; i++) {
      const layer = nameOf(root, 'layers', i);
      const inputs = [x, ...(isOfBlock ? [cut] : []), ...bias];
      x = net.block({name: `${layer}/block`, index: i, count}, inputs, ([input = null, ...rest]) => {
        const ofBlock = isOfBlock ? [biasOf(nameOf(layer, 'relative_position_bias'), rest.shift() ?? null)] : [];
        return block(net, layer, sizes, input, [...ofBlock, ...rest]);
      });
    }
    if (!isMean) {
      x = net.layerNorm(nameOf(root, 'layernorm'), width, epsilon, [x]);
    }
    const pooled = (name: string) =>
      isMean
        ? net.layerNorm(nameOf(root, 'pooler/layernorm'), width, epsilon, [net.poolBehind(name, 1, 'mean', x)])
        : net.pool(name, 'first', [x]);
    if (head === 'classes') {
      const start = isNew ? {fresh: config.number('initializer_range', 0.02, 1)} : {};
      return net.dense('classifier', [width, labels], pooled('classifier/state'), start);
    }
    switch (pooling) {
      case 'none':
        return x;
      case 'first':
        return net.pool('pooling', 'first', [x]);
      case 'mean':
        return net.poolBehind('pooling', 1, 'mean', x);
      case 'pooler':
        return pooled('pooling');
      case 'last':
        return noLast(config, x);
    }
  },
};

function patchBias(net: Net, name: string, args: {edge: number; heads: number}, x: NetTensor): NetTensor {
  const rows = (2 * args.edge - 1) ** 2 + 3;
  net.expect(name, 'relative_position_bias_table', [rows, args.heads], 'table');
  return net.apply(name, [x], () => new PatchBias({...args, name}));
}

/** A block whose attention scores have biases; its key projection has none. */
function block(
  net: Net,
  layer: string,
  sizes: BlockSizes & {isScaled: boolean},
  input: NetTensor,
  [ofBlock, ofAll]: readonly NetTensor[],
): NetTensor {
  const {width, heads, size, epsilon, isScaled} = sizes;
  const self = nameOf(layer, 'attention');
  const scaled = (name: string, x: NetTensor) => (isScaled ? layerScale(net, nameOf(layer, name), width, x, '') : x);
  const first = net.layerNorm(nameOf(layer, 'layernorm_before'), width, epsilon, [input]);
  const projected = ['q_proj', 'k_proj', 'v_proj'].map(name =>
    net.dense(nameOf(self, name), [width, heads * size], first, {bias: name !== 'k_proj'}),
  );
  const both = ofBlock !== undefined && ofAll !== undefined;
  const bias = both ? net.add(nameOf(layer, 'bias'), [ofBlock, ofAll]) : ofBlock;
  const inputs = bias === undefined ? projected : [...projected, bias];
  const attended = net.attention(self, inputs, {heads, bias: bias !== undefined});
  const own = net.dense(nameOf(self, 'o_proj'), [heads * size, width], attended);
  const middle = net.add(nameOf(self, 'sum'), [input, scaled('lambda_1', own)]);
  const second = net.layerNorm(nameOf(layer, 'layernorm_after'), width, epsilon, [middle]);
  const narrow = perceptron(net, nameOf(layer, 'mlp'), sizes, second);
  return net.add(nameOf(layer, 'mlp/sum'), [middle, scaled('lambda_2', narrow)]);
}
