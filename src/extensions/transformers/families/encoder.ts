import {HUB_ACTIVATIONS, type Architecture, type ModelInputs, nameOf, type Purpose} from '../net/architecture';
import {encoderHead, maskedTokens} from './encoderHeads';
import {type BlockModules, plainBlock} from './plainBlock';
import {pooledStates} from './pooling';
import type {HubConfig} from '../net/hubConfig';
import type {ActivationName, Net, NetTensor} from '../net/net';

/** How a new head starts, and what else is not in the config. */
interface Started extends Purpose {
  deviation: number;
  pooler?: string | undefined;
}

interface EncoderModules extends BlockModules {
  projections: readonly [queries: string, keys: string, values: string];
}

export const BERT_BLOCK: EncoderModules = {
  attention: 'attention/self',
  projections: ['attention/self/query', 'attention/self/key', 'attention/self/value'],
  attended: 'attention/output/dense',
  norms: ['attention/output/LayerNorm', 'output/LayerNorm'],
  feedForward: 'output',
  wide: 'intermediate/dense',
  activation: 'intermediate/intermediate_act_fn',
  narrow: 'output/dense',
};

/** The differences of a model from BERT. */
interface Variant {
  prefix: string;
  classes: Architecture['classes'];
  /** The width of the token, position and type embeddings. Default: that of the blocks. */
  tableWidth?(config: HubConfig): number;
  /**
   * The projection from the width of the embeddings to that of the blocks. Default: `embeddings_project`, if they
   * differ.
   */
  widened?: string;
  /** The names of the blocks in the order of computation. A repeated name is the same block again. */
  blocks?(config: HubConfig): string[];
  /** The number of blocks in the files, if it differs from the number of blocks. */
  groups?(config: HubConfig): number;
  modules?: EncoderModules;
  /** Whether parts of a block are normalized before them, and the states after the last block. Default: after them. */
  normsBefore?: boolean;
  /** The default of `layer_norm_eps`. Default: 1e-12. */
  epsilon?: number;
  /** The bias for distances that all blocks add to attention scores. */
  relativeBias?(net: Net, config: HubConfig, root: string, x: NetTensor): NetTensor;
  /** Whether there are token types. Default: true. */
  types?: boolean;
  /** The default activation of a block. Default: `gelu`. */
  activation?: string;
  /** The padding token, if positions start after its row and skip it. */
  padding(config: HubConfig): number | undefined;
  /** The classification head over the states. */
  classify(net: Net, states: NetTensor, root: string, width: number, purpose: Started): NetTensor;
  /** The layer used instead of the pooler's. Default: `pooler/dense`. */
  pooler?: string;
  /** The state that represents a text in choices. Default: BERT's pooler, which a body without a head may have too. */
  summarize?(net: Net, config: HubConfig, states: NetTensor, width: number, purpose: Started): NetTensor;
  /** The modules of the head for masked tokens, and the default of its activation. */
  masked: {transform: string; norm: string; decoder: string; bias: string; activation?: ActivationName};
}

/** Encoders with normalizations after the residual sums, like BERT. */
export function encoder(variant: Variant): Architecture {
  return {
    prefix: variant.prefix,
    classes: variant.classes,
    uncomputed: /^pooler\./,
    blocks: config => variant.groups?.(config) ?? config.count('num_hidden_layers'),
    vocabulary: config => config.count('vocab_size'),
    positions: config => config.count('max_position_embeddings') - offsetOf(variant.padding(config)),
    build: (net, config, inputs, purpose) => build(variant, net, config, inputs, purpose),
  };
}

function build(
  variant: Variant,
  net: Net,
  config: HubConfig,
  {ids, mask, types}: ModelInputs,
  purpose: Purpose,
): NetTensor {
  const width = config.count('hidden_size');
  const heads = config.count('num_attention_heads');
  const inner = config.count('intermediate_size');
  const epsilon = config.number('layer_norm_eps', variant.epsilon ?? 1e-12);
  const activation = config.choice('hidden_act', HUB_ACTIVATIONS, variant.activation ?? 'gelu');
  config.expect('position_embedding_type', 'absolute', null);
  config.expect('is_decoder', false);
  config.expect('add_cross_attention', false);
  config.expectMultiple(['hidden_size', width], ['num_attention_heads', heads]);
  const root = purpose.head === 'none' ? '' : variant.prefix;
  const embeddings = nameOf(root, 'embeddings');
  const tokenEmbedding = nameOf(embeddings, 'word_embeddings');
  const vocabulary = config.count('vocab_size');
  const tableWidth = variant.tableWidth?.(config) ?? width;
  let x = net.embedding(tokenEmbedding, vocabulary, tableWidth, ids);
  if (variant.types !== false) {
    const typeInputs = purpose.tokenTypes ? [x, types] : [x];
    const typeCount = config.count('type_vocab_size', 2);
    x = net.types(nameOf(embeddings, 'token_type_embeddings'), typeCount, tableWidth, typeInputs);
  }
  const positions = config.count('max_position_embeddings');
  const padding = variant.padding(config);
  const placed = padding === undefined ? [x] : [x, ids];
  x = net.positions(nameOf(embeddings, 'position_embeddings'), {rows: positions, width: tableWidth, padding}, placed);
  const {normsBefore = false} = variant;
  if (!normsBefore) {
    x = net.layerNorm(nameOf(embeddings, 'LayerNorm'), tableWidth, epsilon, [x]);
  }
  if (tableWidth !== width || variant.widened !== undefined) {
    x = net.dense(nameOf(root, variant.widened ?? 'embeddings_project'), [tableWidth, width], x);
  }
  const names =
    variant.blocks?.(config) ?? Array.from({length: config.count('num_hidden_layers')}, (_, i) => `encoder/layer/${i}`);
  const modules = variant.modules ?? BERT_BLOCK;
  const bias = variant.relativeBias?.(net, config, root, x);
  names.forEach((name, i) => {
    const layer = nameOf(root, name);
    const block = {name: `${layer}/block`, index: i, count: names.length};
    const blockInputs = bias === undefined ? [x, mask] : [x, mask, bias];
    x = net.block(block, blockInputs, ([input = null, seen = null, ofDistances = null]) => {
      const self = nameOf(layer, modules.attention);
      const attend = (states: NetTensor) => {
        const parts = modules.projections.map(projection =>
          net.dense(nameOf(layer, projection), [width, width], states),
        );
        return bias === undefined
          ? net.attention(self, [...parts, seen], {heads})
          : net.attention(self, [...parts, seen, ofDistances], {heads, bias: true});
      };
      const sizes = {width, inner, epsilon, activation};
      return plainBlock(net, layer, {...sizes, modules, order: normsBefore ? 'before' : 'after', attend}, input);
    });
  });
  if (normsBefore) {
    x = net.layerNorm(nameOf(root, 'encoder/LayerNorm'), width, epsilon, [x]);
  }
  const deviation = config.number('initializer_range', 0.02, 1);
  const started = {...purpose, deviation, pooler: variant.pooler};
  if (purpose.head === 'classes') {
    return variant.classify(net, x, root, width, started);
  }
  if (purpose.head === 'tokens') {
    return maskedTokens(net, config, x, {
      activation,
      ...variant.masked,
      epsilon,
      width,
      tableWidth,
      vocabulary,
      tokenEmbedding,
    });
  }
  const pooled = () =>
    variant.summarize === undefined
      ? pooler(net, x, root, width, started)
      : variant.summarize(net, config, x, width, started);
  if (purpose.pooling === 'none') {
    return encoderHead(net, x, {...started, width, pooled});
  }
  const ofBody = variant.summarize ? undefined : () => pooler(net, x, root, width, {pooler: variant.pooler});
  return pooledStates(net, config, purpose.pooling, [x, mask], ofBody);
}

/** The row of the position embedding for the first token. */
function offsetOf(padding: number | undefined): number {
  return padding === undefined ? 0 : padding + 1;
}

/**
 * BERT's pooler: the state of the first token through a dense layer with tanh. Under a new head it is new too if the
 * files lack it.
 */
export function pooler(
  net: Net,
  states: NetTensor,
  root: string,
  width: number,
  {
    isNew = false,
    deviation = 0,
    pooler: module = 'pooler/dense',
  }: {
    isNew?: boolean;
    deviation?: number;
    pooler?: string | undefined;
  },
): NetTensor {
  const first = net.pool(nameOf(root, 'pooler/first'), 'first', [states]);
  const name = nameOf(root, module);
  const start = isNew && !net.hasLinear(name) ? {fresh: deviation} : {};
  return net.activation(nameOf(root, 'pooler/activation'), 'tanh', net.dense(name, [width, width], first, start));
}

/** A classification head over the pooler. */
export const pooledClassifier: Variant['classify'] = (net, states, root, width, purpose) => {
  const {labels, isNew, deviation} = purpose;
  const pooled = pooler(net, states, root, width, purpose);
  return net.dense('classifier', [width, labels], pooled, isNew ? {fresh: deviation} : {});
};

/** The modules of BERT's head for masked tokens. */
export const BERT_HEAD = {
  transform: 'cls/predictions/transform/dense',
  norm: 'cls/predictions/transform/LayerNorm',
  decoder: 'cls/predictions/decoder',
  bias: 'cls.predictions.bias',
} satisfies Variant['masked'];

/** Those of RoBERTa's head. */
export const LM_HEAD = {
  transform: 'lm_head/dense',
  norm: 'lm_head/layer_norm',
  decoder: 'lm_head/decoder',
  bias: 'lm_head.bias',
  activation: 'gelu',
} satisfies Variant['masked'];

/** A classification head over the state of the first token: a dense layer, its activation, and an output layer. */
export function firstClassifier(activation: ActivationName): Variant['classify'] {
  return (net, states, _, width, {labels, isNew, deviation}) => {
    const start = isNew ? {fresh: deviation} : {};
    const first = net.pool('classifier/first', 'first', [states]);
    const dense = net.dense('classifier/dense', [width, width], first, start);
    const active = net.activation('classifier/activation', activation, dense);
    return net.dense('classifier/out_proj', [width, labels], active, start);
  };
}
