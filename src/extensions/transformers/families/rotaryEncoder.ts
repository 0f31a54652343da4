import {type Architecture, type GateName, HUB_GATES, nameOf, type Purpose} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {fileNameOf, type Net, type NetTensor} from '../net/net';
import {pooledClassifier} from './encoder';
import {encoderHead, type MaskedTokens, maskedTokens} from './encoderHeads';
import type {Rotary} from '../layers/rotaryAngles';
import {rotaryOf, type RotarySizes} from './llamaRotary';
import {pooledStates} from './pooling';

interface Modules {
  blocks: string;
  self: string;
  attendedNorm: string;
  norm: string;
}

const MODULES: Modules = {
  blocks: 'layers',
  self: 'self_attn',
  attendedNorm: 'post_attention_layernorm',
  norm: 'post_mlp_layernorm',
};

/** The differences between BERTs with rotary positions. */
interface Variant {
  prefix: string;
  classes: Architecture['classes'];
  renamed: (name: string) => string;
  /** The defaults of the config. */
  defaults: {vocabulary: number; positions: number; theta: number; types: number; activation: 'silu' | 'gelu'};
  headSize: (config: HubConfig, usual: number) => number;
  /** Whether projections have biases; gate and up never have. */
  bias: boolean;
  /** Tensors that older files join: queries, keys and values, and optionally up and gate. */
  joined: {projections: string; gates?: string};
  /** Whether queries, keys and values are one layer. Default: false; up and gate never are then. */
  isJoined?: (config: HubConfig) => boolean;
  /** The names of the modules of a block. Default: those of transformers. */
  modules?: Modules;
  /** Its angles. Default: those of Llama. */
  anglesOf?: (config: HubConfig, sizes: RotarySizes) => Rotary;
  masked: (config: HubConfig) => Pick<MaskedTokens, 'transform' | 'norm' | 'decoder' | 'bias' | 'activation'>;
}

/** Encoders with normalizations after the residual sums, rotary positions and gated feed-forward layers. */
export function rotaryEncoder({defaults, ...variant}: Variant): Architecture {
  return {
    prefix: variant.prefix,
    classes: variant.classes,
    renamed: variant.renamed,
    blocks: config => config.count('num_hidden_layers', 12),
    vocabulary: config => config.count('vocab_size', defaults.vocabulary),
    positions: config => config.count('max_position_embeddings', defaults.positions),
    build: (net, config, {ids, mask, types}, purpose) => {
      const sizes = rotarySizes({defaults, ...variant}, net, config);
      const {width, epsilon} = sizes;
      const root = purpose.head === 'none' ? '' : variant.prefix;
      const embeddings = nameOf(root, 'embeddings');
      const tokenEmbedding = nameOf(embeddings, 'word_embeddings');
      const vocabulary = config.count('vocab_size', defaults.vocabulary);
      let x = net.embedding(tokenEmbedding, vocabulary, width, ids);
      const typeCount =
        config.get('type_vocab_size') === undefined ? defaults.types : config.nonNegative('type_vocab_size');
      if (typeCount > 0) {
        const typed = purpose.tokenTypes ? [x, types] : [x];
        x = net.types(nameOf(embeddings, 'token_type_embeddings'), typeCount, width, typed);
      }
      x = net.layerNorm(nameOf(embeddings, 'LayerNorm'), width, epsilon, [x]);
      const count = config.count('num_hidden_layers', 12);
      const blocks = nameOf(root, sizes.modules.blocks);
      x = net.blocks(blocks, count, [x, mask], (layer, [input = null, seen = null]) =>
        rotaryBlock(net, layer, {...sizes, ...variant}, [input, seen]),
      );
      const {masked} = variant;
      return head(net, config, x, {...{purpose, root, vocabulary, tokenEmbedding}, ...{width, epsilon, mask, masked}});
    },
  };
}

function rotarySizes(
  {defaults, headSize, isJoined, modules = MODULES, anglesOf}: Variant,
  net: Net,
  config: HubConfig,
) {
  const width = config.count('hidden_size', 768);
  const heads = config.count('num_attention_heads', 12);
  const size = headSize(config, Math.floor(width / heads));
  return {
    width,
    heads,
    size,
    inner: config.count('intermediate_size', 3072),
    epsilon: config.number('layer_norm_eps', 1e-12),
    gate: config.choice<GateName>('hidden_act', HUB_GATES, defaults.activation),
    rotary: (anglesOf ?? ((...sources) => rotaryOf(...sources, defaults.theta)))(
      config.withDefaults({max_position_embeddings: defaults.positions}),
      {size, isPlan: net.isPlan},
    ),
    isOne: isJoined !== undefined,
    packed: isJoined?.(config) ?? false,
    modules,
  };
}

function rotaryBlock(
  net: Net,
  layer: string,
  sizes: ReturnType<typeof rotarySizes> & Pick<Variant, 'bias' | 'joined'>,
  [input, seen]: [input: NetTensor, seen: NetTensor],
): NetTensor {
  const {width, heads, size, inner, epsilon, gate, rotary, bias, joined, modules, isOne, packed: isPacked} = sizes;
  const self = nameOf(layer, modules.self);
  const packed = nameOf(self, joined.projections);
  const older = isOne ? {} : {orElse: fileNameOf(packed, 'weight'), biasOrElse: fileNameOf(packed, 'bias')};
  const inputs = isPacked
    ? [net.dense(packed, [width, 3 * heads * size], input, {bias})]
    : ['q_proj', 'k_proj', 'v_proj'].map((name, index) =>
        net.dense(nameOf(self, name), [width, heads * size], input, {
          bias,
          ...older,
          ...(!isOne && {rowSlice: {index, of: 3}}),
        }),
      );
  const attended = net.attention(self, [...inputs, seen], {heads, rotary, packed: isPacked});
  const projected = net.dense(nameOf(self, 'o_proj'), [heads * size, width], attended, {bias});
  const middle = net.layerNorm(nameOf(layer, modules.attendedNorm), width, epsilon, [projected, input]);
  const mlp = nameOf(layer, 'mlp');
  const both = joined.gates && fileNameOf(nameOf(mlp, joined.gates), 'weight');
  const wide = (name: string, index: number) =>
    net.dense(nameOf(mlp, name), [width, inner], middle, {
      bias: false,
      ...(both && {orElse: both, rowSlice: {index, of: 2}}),
    });
  const act = nameOf(mlp, 'act_fn');
  const gated =
    isOne && joined.gates !== undefined
      ? net.gate(act, gate, [net.dense(nameOf(mlp, joined.gates), [width, 2 * inner], middle, {bias: false})], true)
      : net.gate(act, gate, [wide('gate_proj', 1), wide('up_proj', 0)]);
  const narrow = net.dense(nameOf(mlp, 'down_proj'), [inner, width], gated, {bias});
  return net.layerNorm(nameOf(layer, modules.norm), width, epsilon, [narrow, middle]);
}

interface HeadParts extends Pick<Variant, 'masked'> {
  purpose: Purpose;
  root: string;
  vocabulary: number;
  tokenEmbedding: string;
  width: number;
  epsilon: number;
  mask: NetTensor;
}

function head(
  net: Net,
  config: HubConfig,
  x: NetTensor,
  {purpose, root, mask, masked, ...sizes}: HeadParts,
): NetTensor {
  const deviation = config.number('initializer_range', 0.02, 1);
  const started = {...purpose, deviation};
  switch (purpose.head) {
    case 'none':
      break;
    case 'classes':
      return pooledClassifier(net, x, root, sizes.width, started);
    case 'tokens':
      return maskedTokens(net, config, x, {...masked(config), ...sizes});
    default:
      return encoderHead(net, x, {...started, width: sizes.width, pooled: () => null});
  }
  return pooledStates(net, config, purpose.pooling, [x, mask]);
}
