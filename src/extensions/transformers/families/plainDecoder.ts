import {type Architecture, nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {AttentionArgs} from '../layers/attention';
import type {Net, NetTensor} from '../net/net';
import {decoderHead} from './decoderHead';
import {type BlockModules, type PlainBlock, plainBlock} from './plainBlock';

interface Sizes {
  width: number;
  heads: number;
  /** The values of a head. */
  size: number;
  isPlan: boolean;
}

/** What a config says about a model. */
interface PlainSettings extends Omit<PlainBlock, 'modules' | 'width' | 'attend'> {
  /** The settings of attention, besides heads and order. */
  attention?: Partial<AttentionArgs> | ((block: number) => Partial<AttentionArgs>);
  /** Adds what computes queries, keys and values. */
  project: (net: Net, self: string, x: NetTensor) => NetTensor[];
  /** The width of the token embeddings, if it differs. */
  tableWidth?: number;
  /** Whether there is a normalization after the blocks. Default: true. */
  hasNorm?: boolean;
}

/** The differences of a model from others with layer normalizations and a plain feed-forward part. */
interface PlainVariant extends Pick<Architecture, 'prefix' | 'renamed' | 'unused' | 'classes'> {
  /** Alternative names of fields: the common name by the family's own name. Default: none. */
  commonNames?: Architecture['commonNames'];
  /** The root of a model without a head. Default: none. */
  bareRoot?: string;
  /** The names of the token embedding, of the list of blocks, and of the last normalization; and those of a block. */
  modules: {embedding: string; blocks: string; norm: string; block: BlockModules};
  /** The default of the longest text, in positions. */
  longest: number;
  /** Other defaults of the config. */
  defaults?: Readonly<Record<string, unknown>>;
  /** Learned positions. With an offset they skip padding, by the mask. Default: none. */
  positions?: {name: string; offset?: number};
  head: {isTied: boolean; tokenHead: string; bias?: boolean};
  read: (config: HubConfig, sizes: Sizes) => PlainSettings;
}

/** Decoders with layer normalizations and a plain feed-forward part: GPT-2, OPT, GPT-NeoX and Phi. */
export function plainDecoder(variant: PlainVariant): Architecture {
  const {prefix, commonNames = {}, bareRoot = '', modules, longest, defaults, positions, head, read, ...base} = variant;
  const field = (common: string) => Object.keys(commonNames).find(name => commonNames[name] === common) ?? common;
  const [ofWidth, ofHeads] = [field('hidden_size'), field('num_attention_heads')];
  const [ofBlocks, ofPositions] = [field('num_hidden_layers'), field('max_position_embeddings')];
  return {
    ...{prefix, commonNames, ...base},
    blocks: config => config.count(ofBlocks),
    vocabulary: config => config.count('vocab_size'),
    positions: config => config.count(ofPositions, longest),
    build: (net, fileConfig, {ids, mask}, purpose) => {
      const config = fileConfig.withDefaults({[ofPositions]: longest, ...defaults});
      const longestText = config.count(ofPositions);
      const [width, heads, count] = [config.count(ofWidth), config.count(ofHeads), config.count(ofBlocks)];
      const sizes = {width, heads, size: Math.floor(width / heads), isPlan: net.isPlan};
      const {attention = {}, project, tableWidth = width, hasNorm = true, ...block} = read(config, sizes);
      const causal = config.flag('is_causal', true);
      config.expectMultiple([ofWidth, width], [ofHeads, heads]);
      if (head.tokenHead === 'score' && purpose.head === 'tokenClasses') {
        config.expect('token_classification_bias', true);
      }
      const root = purpose.head === 'none' ? bareRoot : prefix.replace('.', '/');
      const tokenEmbedding = nameOf(root, modules.embedding);
      const vocabulary = config.count('vocab_size');
      const resized = (name: string, [from, to]: [number, number], states: NetTensor) =>
        from === to ? states : net.dense(nameOf(root, name), [from, to], states, {bias: false});
      let x = resized('project_in', [tableWidth, width], net.embedding(tokenEmbedding, vocabulary, tableWidth, ids));
      if (positions !== undefined) {
        const {name, offset} = positions;
        // The mask tells which positions count, as tokens do elsewhere.
        const [skips, inputs] = offset === undefined ? [{}, [x]] : [{padding: 0, offset}, [x, mask]];
        x = net.positions(nameOf(root, name), {rows: longestText + (offset ?? 0), width, ...skips}, inputs);
      }
      x = net.blocks(nameOf(root, modules.blocks), count, [x, mask], (layer, [input = null, seen = null], i) => {
        const self = nameOf(layer, modules.block.attention);
        const settings = {heads, causal, ...(typeof attention === 'function' ? attention(i) : attention)};
        const attend = (first: NetTensor) => net.attention(self, [...project(net, self, first), seen], settings);
        return plainBlock(net, layer, {...block, width, modules: modules.block, attend}, input);
      });
      if (hasNorm) {
        x = net.layerNorm(nameOf(root, modules.norm), width, block.epsilon, [x]);
      }
      const states = resized('project_out', [width, tableWidth], x);
      const sizesOfHead = {width: tableWidth, vocabulary, tokenEmbedding};
      return decoderHead(net, config, {states, ids, mask}, {...purpose, ...sizesOfHead, ...head});
    },
  };
}
