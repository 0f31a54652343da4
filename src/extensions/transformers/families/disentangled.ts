import {show} from '../../../platform/errors';
import {HUB_ACTIVATIONS, nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {DistanceScores, DistanceTable} from '../layers/distanceScores';
import {HiddenPositions} from '../layers/hiddenPositions';
import type {ActivationName, Net, NetTensor} from '../net/net';
import {BERT_BLOCK} from './encoder';
import {plainBlock} from './plainBlock';

// The blocks of DeBERTa: attention between contents, and between contents and distances.

/** The settings of blocks. */
export interface DebertaSizes {
  width: number;
  heads: number;
  inner: number;
  /** The width of the token, position and type embeddings. */
  tableWidth: number;
  epsilon: number;
  activation: ActivationName;
}

export function debertaSizes(config: HubConfig): DebertaSizes {
  const width = config.count('hidden_size');
  const heads = config.count('num_attention_heads');
  config.expectMultiple(['hidden_size', width], ['num_attention_heads', heads]);
  config.expect('attention_head_size', width / heads);
  return {
    width,
    heads,
    inner: config.count('intermediate_size'),
    tableWidth: config.count('embedding_size', width),
    epsilon: config.number('layer_norm_eps', 1e-7),
    activation: config.choice('hidden_act', HUB_ACTIVATIONS, 'gelu'),
  };
}

/** What is compared with distances, and the rows of the distance table. */
export interface Distances {
  span: number;
  farthest: number | null;
  /** Whether distances use the query and key projections of contents. */
  shared: boolean;
  ofQueries: boolean;
  ofKeys: boolean;
}

/** The settings for distances; `undefined` if attention does not use them. */
export function distancesOf(config: HubConfig): Distances | undefined {
  const kinds = kindsOf(config);
  const shared = config.flag('share_att_key', false);
  const buckets = integer(config, 'position_buckets', -1);
  const maxRelativePositions = integer(config, 'max_relative_positions', -1);
  const most = maxRelativePositions < 1 ? config.count('max_position_embeddings', 512) : maxRelativePositions;
  if (!config.flag('relative_attention', false)) {
    return undefined;
  }
  if (buckets === 1) {
    config.fault('position_buckets must be 2 or more, got 1.');
  }
  if (kinds.length === 0) {
    return undefined;
  }
  return {
    span: buckets > 0 ? buckets : most,
    farthest: buckets > 0 ? most - 1 : null,
    shared,
    ofQueries: kinds.includes('c2p'),
    ofKeys: kinds.includes('p2c'),
  };
}

const KINDS = ['c2p', 'p2c'];

/** `pos_att_type`: a list, or a string with entries separated by bars. */
function kindsOf(config: HubConfig): string[] {
  const attentionKinds = config.get('pos_att_type') ?? [];
  const kinds: unknown = typeof attentionKinds === 'string' ? splitText(attentionKinds) : attentionKinds;
  if (!Array.isArray(kinds) || kinds.some(kind => !KINDS.includes(kind as string))) {
    config.fault(`pos_att_type is ${show(attentionKinds)}, which is not supported. Supported: ${KINDS.join(', ')}.`);
    return [];
  }
  return kinds as string[];
}

function splitText(text: string): string[] {
  return text
    .toLowerCase()
    .split('|')
    .map(kind => kind.trim());
}

/** An integer, which may be negative. */
export function integer(config: HubConfig, name: string, otherwise: number): number {
  const value = config.get(name);
  if (value !== undefined && !Number.isSafeInteger(value)) {
    config.fault(`${name} must be an integer, got ${show(value)}.`);
    return otherwise;
  }
  return (value as number | undefined) ?? otherwise;
}

/** Products of contents are scaled down by the number of terms in the sum. */
export function scaleOf(config: HubConfig, {width, heads}: DebertaSizes): number {
  return 1 / Math.sqrt((width / heads) * (1 + new Set(kindsOf(config)).size));
}

/** The rows for distances, which all blocks project. */
export function distanceTable(
  net: Net,
  config: HubConfig,
  encoder: string,
  {distances, sizes}: {distances: Distances; sizes: DebertaSizes},
  x: NetTensor,
): NetTensor {
  const {width, epsilon} = sizes;
  const name = nameOf(encoder, 'rel_embeddings');
  const rows = 2 * distances.span;
  net.expect(name, 'weight', [rows, width], 'embeddings');
  const table = net.apply(name, [x], () => new DistanceTable({rows, name}));
  const isNormal = config.choice('norm_rel_ebd', {none: false, layer_norm: true}, 'none');
  return isNormal ? net.layerNorm(nameOf(encoder, 'LayerNorm'), width, epsilon, [table]) : table;
}

/** How blocks project states, and the rows for distances. */
export interface DisentangledProjections {
  ofStates(
    net: Net,
    self: string,
    sizes: DebertaSizes,
    input: NetTensor,
  ): [queries: NetTensor, keys: NetTensor, values: NetTensor];
  /** The modules for rows as keys and as queries. They may be those of contents. */
  ofRows(shared: boolean): Record<'keys' | 'queries', {name: string; bias?: boolean}>;
}

interface BlockParts {
  sizes: DebertaSizes;
  distances: Distances | undefined;
  scale: number;
  projections: DisentangledProjections;
}

/** A block: attention, then two dense layers. Inputs are the states, the mask and the rows for distances. */
export function disentangledBlock(
  net: Net,
  layer: string,
  {sizes, distances, scale, projections}: BlockParts,
  [input, seen, table]: [input: NetTensor, seen: NetTensor, table: NetTensor],
): NetTensor {
  const {width, heads} = sizes;
  const self = nameOf(layer, 'attention/self');
  const attend = (states: NetTensor) => {
    const [q, k, v] = projections.ofStates(net, self, sizes, states);
    const scores: NetTensor[] = [];
    if (distances !== undefined) {
      const {shared, span, farthest} = distances;
      const {keys, queries} = projections.ofRows(shared);
      const add = (name: string, x: NetTensor, rows: typeof keys, ofKeys: boolean) => {
        const layerName = nameOf(self, name);
        const make = () => new DistanceScores({heads, span, farthest, ofKeys, scale, name: layerName});
        const {name: module, bias = true} = rows;
        scores.push(net.apply(layerName, [x, net.dense(nameOf(self, module), [width, width], table, {bias})], make));
      };
      if (distances.ofQueries) {
        add('c2p', q, keys, false);
      }
      if (distances.ofKeys) {
        add('p2c', k, queries, true);
      }
    }
    const [first, second = null] = scores;
    const both = first !== undefined && scores.length > 1 ? net.add(nameOf(self, 'bias'), [first, second]) : first;
    const inputs = [q, k, v, seen, ...(both === undefined ? [] : [both])];
    const attended = net.attention(self, inputs, {heads, scale, bias: both !== undefined});
    return shownOf(net, nameOf(self, 'shown'), [attended, seen, v]);
  };
  return plainBlock(net, layer, {...sizes, modules: BERT_BLOCK, order: 'after', attend}, input);
}

/** Inputs are the states and the mask, and the values for positions that attend to nothing. */
export function shownOf(net: Net, name: string, inputs: NetTensor[]): NetTensor {
  return net.apply(name, inputs, () => new HiddenPositions({name}));
}
