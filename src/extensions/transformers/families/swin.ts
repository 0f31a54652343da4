import {JoinedPatches, JoinedWindows, Windows, type WindowSettings, WholePatches} from '../layers/windows';
import {BIAS_WIDTH, ContinuousWindowBias, UnitHeads, WindowBias} from '../layers/windowScores';
import {type Architecture, HUB_ACTIVATIONS, nameOf, OF_IMAGES} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {ActivationName, Net, NetTensor} from '../net/net';
import {asSequence, blocksOf, convolution, featureOutput} from './convolutions';
import {attentionToday, imageSizes, PATCH_MODULES} from './patchBlocks';
import {type PlainBlock, plainBlock} from './plainBlock';

const DEPTHS = [2, 2, 6, 2];
/** For the normalizations of patches, whatever the config says. */
const EPSILON = 1e-5;

interface BlockSizes {
  width: number;
  inner: number;
  heads: number;
  windows: WindowArgs;
  /** The edge of windows in pretraining, if another one. */
  pretrained: number | null;
  epsilon: number;
  activation: ActivationName;
  /** Whether queries, keys and values have biases. */
  bias: boolean;
}

/** What differs between both versions. */
interface Variant {
  prefix: string;
  classes: Architecture['classes'];
  renamed?: Architecture['renamed'];
  /** Whether normalizations follow what they normalize, and scores are cosines. */
  isSecond: boolean;
}

/** Swin: attention within windows, which are shifted in every second block. (Liu et al., arXiv 2103.14030.) */
export const swin = swinOf({
  prefix: 'swin',
  classes: {SwinModel: 'none', SwinForImageClassification: 'classes'},
  renamed: name =>
    attentionToday(name)
      .replace('.attention.self.relative_', '.attention.relative_position_bias.relative_')
      .replace('.intermediate.dense.', '.mlp.fc1.')
      .replace(/(\.blocks\.\d+)\.output\.dense\./, '$1.mlp.fc2.'),
  isSecond: false,
});

/** Swin V2, of cosines and a continuous bias. (Liu et al., arXiv 2111.09883.) */
export const swinV2 = swinOf({
  prefix: 'swinv2',
  classes: {Swinv2Model: 'none', Swinv2ForImageClassification: 'classes'},
  isSecond: true,
});

function swinOf({prefix, classes, isSecond, ...architecture}: Variant): Architecture {
  return {
    ...architecture,
    prefix,
    classes,
    ...OF_IMAGES,
    commonNames: {num_heads: 'num_attention_heads'},
    unused: /\.(relative_position_index|relative_coords_table)$|^embeddings\.mask_token$/,
    blocks: config => blocksOf(config, DEPTHS),
    build: (net, config, {pixels}, purpose) => {
      config.expect('use_absolute_embeddings', false);
      const root = purpose.head === 'none' ? '' : prefix;
      const {channels, patch, grid} = imageSizes(config, 4);
      const first = config.count('embed_dim', 96);
      const epsilon = config.number('layer_norm_eps', 1e-5);
      const embeddings = nameOf(root, 'embeddings');
      const patches = nameOf(embeddings, 'patch_embeddings');
      const wholePatches = net.apply(nameOf(patches, 'padding'), [pixels], () => {
        return new WholePatches({patch, name: nameOf(patches, 'padding')});
      });
      const stem = {channels: [channels, first], size: patch, stride: patch, padding: 0} as const;
      let x = convolution(net, nameOf(patches, 'projection'), stem, wholePatches);
      x = net.layerNorm(nameOf(embeddings, 'norm'), first, EPSILON, [x]);
      const stages = stagesOf(config, {isSecond, rows: grid[0]});
      stages.forEach(({depth, ...sizes}, stage) => {
        const name = nameOf(root, 'encoder/layers', stage);
        if (stage > 0) {
          x = shrunk(net, nameOf(root, 'encoder/layers', stage - 1, 'downsample'), sizes.width / 2, isSecond, x);
        }
        x = net.blocks(nameOf(name, 'blocks'), depth, [x], (layer, [input = null], i) => {
          const {windows} = sizes;
          const blockSizes = {...sizes, windows: {...windows, shift: i % 2 === 0 ? 0 : windows.shift}};
          return isSecond ? blockOfSecond(net, layer, blockSizes, input) : swinBlock(net, layer, blockSizes, input);
        });
        net.stage(stage + 1, x);
      });
      const width = stages.at(-1)?.width ?? 1;
      const states = net.layerNorm(nameOf(root, 'layernorm'), width, epsilon, [x]);
      return purpose.head === 'none' && purpose.pooling === 'none'
        ? asSequence(net, 'sequence', states)
        : featureOutput(net, config, purpose, {width}, states);
    },
  };
}

/** Reads the stages. In the second version windows are as large as the config's images allow. */
function stagesOf(
  config: HubConfig,
  {isSecond, rows}: {isSecond: boolean; rows: number},
): (BlockSizes & {depth: number})[] {
  const depths = config.counts('depths', DEPTHS);
  const heads = config.counts('num_heads', [3, 6, 12, 24]);
  const first = config.count('embed_dim', 96);
  const edge = config.count('window_size', 7);
  const ratio = config.number('mlp_ratio', 4);
  const shared = {
    epsilon: config.number('layer_norm_eps', 1e-5),
    activation: config.choice('hidden_act', HUB_ACTIVATIONS, 'gelu'),
    bias: config.flag('qkv_bias', true),
  };
  if (heads.length !== depths.length) {
    config.fault(`num_heads must have as many entries as depths, ${depths.length}, got ${heads.length}.`);
  }
  const pretrained = isSecond ? pretrainedOf(config, depths.length) : [];
  return depths.map((depth, stage) => {
    const width = first * 2 ** stage;
    const count = heads[stage] ?? 1;
    if (width % count !== 0) {
      config.fault(`num_heads must divide the width of a stage, ${width}, got ${count}.`);
    }
    const resolution = Math.floor(rows / 2 ** stage);
    const size = isSecond ? Math.min(resolution, edge) : edge;
    if (size < 1) {
      config.fault(`image_size is too small for ${depths.length} stages.`);
    }
    const shift = isSecond && resolution <= size ? 0 : Math.floor(edge / 2);
    return {
      ...shared,
      depth,
      width,
      inner: Math.trunc(ratio * width),
      heads: count,
      windows: {size: Math.max(size, 1), shift: Math.min(shift, Math.max(size - 1, 0)), pads: isSecond},
      pretrained: (pretrained[stage] ?? 0) > 0 ? (pretrained[stage] as number) : null,
    };
  });
}

function pretrainedOf(config: HubConfig, count: number): number[] {
  const pretrainedField = config.get('pretrained_window_sizes');
  const windowSizes = pretrainedField === undefined ? new Array<number>(count).fill(0) : pretrainedField;
  const isSize = (size: unknown) => Number.isSafeInteger(size) && (size as number) >= 0 && size !== 1;
  if (!Array.isArray(windowSizes) || windowSizes.length < count || !windowSizes.every(isSize)) {
    config.fault(`pretrained_window_sizes must be ${count} integers, 0 or at least 2.`);
    return [];
  }
  return windowSizes as number[];
}

function swinBlock(net: Net, layer: string, sizes: BlockSizes, input: NetTensor): NetTensor {
  const {width, windows, heads, bias} = sizes;
  const self = nameOf(layer, 'attention');
  const attend = (normal: NetTensor) => {
    const cut = cutIn(net, nameOf(layer, 'windows'), windows, normal);
    const projected = ['q_proj', 'k_proj', 'v_proj'].map(name =>
      net.dense(nameOf(self, name), [width, width], cut, {bias}),
    );
    const table = nameOf(self, 'relative_position_bias');
    net.expect(table, 'relative_position_bias_table', [(2 * windows.size - 1) ** 2, heads], 'table');
    const scores = net.apply(table, [normal], () => new WindowBias({...windows, heads, name: table}));
    return net.attention(self, [...projected, scores], {heads, bias: true});
  };
  const behind: PlainBlock['behind'] = (part, x, normal) =>
    part === 0 ? joinedIn(net, nameOf(layer, 'joined'), windows, [x, normal]) : x;
  return plainBlock(net, layer, {...sizes, modules: PATCH_MODULES, order: 'before', attend, behind}, input);
}

function blockOfSecond(net: Net, layer: string, sizes: BlockSizes, input: NetTensor): NetTensor {
  const {width, inner, windows, heads, pretrained, epsilon, activation, bias} = sizes;
  const self = nameOf(layer, 'attention/self');
  const cut = cutIn(net, nameOf(layer, 'windows'), windows, input);
  const [queries = null, keys = null, values = null] = ['query', 'key', 'value'].map(name =>
    net.dense(nameOf(self, name), [width, width], cut, {bias: bias && name !== 'key'}),
  );
  const [scaled, unit] = [nameOf(self, 'queries'), nameOf(self, 'keys')];
  net.expect(scaled, '', [heads, 1, 1], 'logit_scale', {fileName: `${self.replaceAll('/', '.')}.logit_scale`});
  const cosines = [
    net.apply(scaled, [queries], () => new UnitHeads({heads, scaled: true, name: scaled})),
    net.apply(unit, [keys], () => new UnitHeads({heads, name: unit})),
  ];
  const table = nameOf(self, 'continuous_position_bias_mlp');
  net.expect(table, '0.weight', [BIAS_WIDTH, 2], 'kernel_0', {axes: [1, 0]});
  net.expect(table, '0.bias', [BIAS_WIDTH], 'bias_0');
  net.expect(table, '2.weight', [heads, BIAS_WIDTH], 'kernel_1', {axes: [1, 0]});
  const make = () => new ContinuousWindowBias({...windows, heads, pretrained, name: table});
  const scores = net.apply(table, [input], make);
  const attended = net.attention(self, [...cosines, values, scores], {heads, bias: true, scale: 1});
  const out = net.dense(nameOf(layer, 'attention/output/dense'), [width, width], attended);
  const joined = joinedIn(net, nameOf(layer, 'joined'), windows, [out, input]);
  const normal = net.layerNorm(nameOf(layer, 'layernorm_before'), width, epsilon, [joined]);
  const middle = net.add(nameOf(layer, 'attention/sum'), [input, normal]);
  const wide = net.dense(nameOf(layer, 'intermediate/dense'), [width, inner], middle);
  const active = net.activation(nameOf(layer, 'intermediate/activation'), activation, wide);
  const narrow = net.dense(nameOf(layer, 'output/dense'), [inner, width], active);
  const second = net.layerNorm(nameOf(layer, 'layernorm_after'), width, epsilon, [narrow]);
  return net.add(nameOf(layer, 'output/sum'), [middle, second]);
}

type WindowArgs = Pick<WindowSettings, 'size' | 'shift'> & Partial<WindowSettings>;

function cutIn(net: Net, name: string, windows: WindowArgs, x: NetTensor): NetTensor {
  return net.apply(name, [x], () => new Windows({...windows, name}));
}

function joinedIn(net: Net, name: string, windows: WindowArgs, inputs: NetTensor[]): NetTensor {
  return net.apply(name, inputs, () => new JoinedWindows({...windows, name}));
}

/** Joins four positions to one of twice the width. */
function shrunk(net: Net, name: string, width: number, isSecond: boolean, x: NetTensor): NetTensor {
  const joined = net.apply(nameOf(name, 'joined'), [x], () => new JoinedPatches({name: nameOf(name, 'joined')}));
  const norm = (y: NetTensor, size: number) => net.layerNorm(nameOf(name, 'norm'), size, EPSILON, [y]);
  const reduced = (y: NetTensor) => net.dense(nameOf(name, 'reduction'), [4 * width, 2 * width], y, {bias: false});
  return isSecond ? norm(reduced(joined), 2 * width) : reduced(norm(joined, 4 * width));
}
