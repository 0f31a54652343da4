import {type Architecture, type GateName, HUB_ACTIVATIONS, HUB_GATES, nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {type ActivationName, fileNameOf, type Net, type NetTensor} from '../net/net';
import {pooledStates} from './pooling';

const VOCABULARY = 32_128;

/**
 * The encoder of T5 and Flan-T5: a relative position bias that all blocks share, RMS normalizations before each part,
 * and unscaled products of queries and keys. (Raffel et al., arXiv 1910.10683.)
 */
export const t5: Architecture = {
  prefix: 'transformer',
  classes: {T5EncoderModel: 'none', T5ForTokenClassification: 'tokenClasses'},
  unused: /^shared\./,
  commonNames: {
    d_model: 'hidden_size',
    num_heads: 'num_attention_heads',
    num_layers: 'num_hidden_layers',
    d_kv: 'head_dim',
  },
  blocks: config => config.count('num_layers', 6),
  vocabulary: config => config.count('vocab_size', VOCABULARY),
  build: (net, config, {ids, mask}, {head, pooling, labels, isNew}) => {
    const width = config.count('d_model', 512);
    const heads = config.count('num_heads', 8);
    const inner = heads * config.count('d_kv', 64);
    const epsilon = config.number('layer_norm_epsilon', 1e-6);
    const sizes = {width, inner: config.count('d_ff', 2048), ...feedForwardOf(config)};
    config.expect('is_decoder', false);
    const root = head === 'none' ? '' : 'transformer';
    const norm = (name: string, x: NetTensor) => net.rmsNorm(name, width, epsilon, [x]);
    const encoder = nameOf(root, 'encoder');
    // The same table has two names. The encoder and PEFT's adapters use this one.
    const tokenEmbedding = nameOf(encoder, 'embed_tokens');
    const shared = fileNameOf(nameOf(root, 'shared'), 'weight');
    const rows = config.count('vocab_size', VOCABULARY);
    net.expect(tokenEmbedding, 'weight', [rows, width], 'embeddings', {orElse: shared});
    let x = net.embedding(tokenEmbedding, rows, width, ids);
    const bias = distances(net, config, encoder, x);
    const count = config.count('num_layers', 6);
    x = net.blocks(
      nameOf(encoder, 'block'),
      count,
      [x, mask, bias],
      (block, [input = null, seen = null, added = null]) => {
        const layer = nameOf(block, 'layer');
        const self = nameOf(layer, '0/SelfAttention');
        const first = norm(nameOf(layer, '0/layer_norm'), input);
        const [q, k, v] = ['q', 'k', 'v'].map(name =>
          net.dense(nameOf(self, name), [width, inner], first, {bias: false}),
        ) as [NetTensor, NetTensor, NetTensor];
        const attended = net.attention(self, [q, k, v, seen, added], {heads, scale: 1, bias: true});
        const projected = net.dense(nameOf(self, 'o'), [inner, width], attended, {bias: false});
        const middle = net.add(nameOf(self, 'sum'), [input, projected]);
        const second = norm(nameOf(layer, '1/layer_norm'), middle);
        const narrow = feedForward(net, nameOf(layer, '1/DenseReluDense'), sizes, second);
        return net.add(nameOf(layer, '1/sum'), [middle, narrow]);
      },
    );
    x = norm(nameOf(encoder, 'final_layer_norm'), x);
    if (head === 'tokenClasses') {
      // transformers starts heads for spans like this; with the deviation 1 that it has for classes, logits would start
      // in the tens.
      const start = isNew ? {fresh: config.number('initializer_factor', 1) / Math.sqrt(width)} : {};
      return net.dense('classifier', [width, labels], x, start);
    }
    return pooledStates(net, config, pooling, [x, mask], 'T5 has no pooler.');
  },
};

/** The relative position bias. The first block has the table, and the others share it. */
function distances(net: Net, config: HubConfig, encoder: string, x: NetTensor): NetTensor {
  const buckets = config.count('relative_attention_num_buckets', 32);
  const maxDistance = config.count('relative_attention_max_distance', 128);
  const exact = Math.floor(buckets / 4);
  if (exact < 1 || maxDistance <= exact) {
    config.fault(
      `relative_attention_num_buckets ${buckets} must be 4 or more, and relative_attention_max_distance ` +
        `${maxDistance} more than a quarter of it.`,
    );
  }
  const name = nameOf(encoder, 'block/0/layer/0/SelfAttention/relative_attention_bias');
  return net.relativeBias(name, [buckets, config.count('num_heads', 8)], x, {maxDistance});
}

/** The feed-forward layers: two, or three with a gate. */
type FeedForward = {gate: GateName} | {activation: ActivationName};

const GATES: Readonly<Record<string, GateName>> = {...HUB_GATES, gelu_new: 'gelu_tanh'};

/** Whether there is a gate, and the activation, from `feed_forward_proj`. */
const PROJECTIONS: Readonly<Record<string, {isGated: boolean; name: string}>> = {
  ...Object.fromEntries(Object.keys(HUB_ACTIVATIONS).map(name => [name, {isGated: false, name}])),
  ...Object.fromEntries(Object.keys(GATES).map(name => [`gated-${name}`, {isGated: true, name}])),
  'gated-gelu': {isGated: true, name: 'gelu_new'},
};

/** Fields that follow from `feed_forward_proj` take precedence if configs have them. */
function feedForwardOf(config: HubConfig): FeedForward {
  const {isGated, name} = config.choice('feed_forward_proj', PROJECTIONS, 'relu');
  return config.flag('is_gated_act', isGated)
    ? {gate: config.choice('dense_act_fn', GATES, name)}
    : {activation: config.choice('dense_act_fn', HUB_ACTIVATIONS, name)};
}

function feedForward(
  net: Net,
  name: string,
  {width, inner, ...kind}: {width: number; inner: number} & FeedForward,
  x: NetTensor,
): NetTensor {
  const wide = (projection: string) => net.dense(nameOf(name, projection), [width, inner], x, {bias: false});
  const act = nameOf(name, 'act');
  const active =
    'gate' in kind
      ? net.gate(act, kind.gate, ['wi_0', 'wi_1'].map(wide))
      : net.activation(act, kind.activation, wide('wi'));
  return net.dense(nameOf(name, 'wo'), [inner, width], active, {bias: false});
}
