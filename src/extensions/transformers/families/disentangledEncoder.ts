import {type Architecture, HUB_ACTIVATIONS, type ModelInputs, nameOf, type Purpose} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {ActivationName, Net, NetTensor} from '../net/net';
import {
  debertaSizes,
  type DebertaSizes,
  disentangledBlock,
  type DisentangledProjections,
  distancesOf,
  distanceTable,
  scaleOf,
  shownOf,
} from './disentangled';
import {BERT_HEAD} from './encoder';
import {encoderHead, maskedTokens} from './encoderHeads';
import {pooledStates} from './pooling';

/** The differences between the DeBERTas. */
interface Variant {
  classes: Architecture['classes'];
  uncomputed?: RegExp;
  /** The defaults of the config. */
  defaults: Readonly<Record<string, unknown>>;
  /** How blocks project states and the rows for distances. */
  projections: DisentangledProjections;
  /** Checks what only this model has, and returns what comes after the first block, if anything does. */
  afterFirst?(
    net: Net,
    config: HubConfig,
    sizes: DebertaSizes,
  ): ((name: string, inputs: [embedded: NetTensor, x: NetTensor, mask: NetTensor]) => NetTensor) | undefined;
}

/** Encoders whose attention is between contents, and between contents and distances. */
export function disentangledEncoder({classes, uncomputed, defaults, ...variant}: Variant): Architecture {
  return {
    prefix: 'deberta',
    classes,
    unused: /^embeddings\.position_embeddings\./,
    ...(uncomputed && {uncomputed}),
    blocks: config => config.withDefaults(defaults).count('num_hidden_layers'),
    vocabulary: config => config.withDefaults(defaults).count('vocab_size'),
    build: (net, fileConfig, inputs, purpose) => {
      const config = fileConfig.withDefaults(defaults);
      const sizes = debertaSizes(config);
      const {width, epsilon, activation, tableWidth} = sizes;
      const root = purpose.head === 'none' ? '' : 'deberta';
      const tokenEmbedding = nameOf(root, 'embeddings/word_embeddings');
      const x = states(net, config, inputs, {...variant, root, tokenEmbedding, sizes, purpose});
      const deviation = config.number('initializer_range', 0.02, 1);
      const pooled = () => contextPooler(net, config, x, {width, deviation, isNew: purpose.isNew});
      switch (purpose.head) {
        case 'none':
          break;
        case 'tokens': {
          const vocabulary = config.count('vocab_size');
          const names = maskedHead(config, sizes);
          return maskedTokens(net, config, x, {
            ...names,
            activation,
            epsilon,
            width,
            tableWidth,
            vocabulary,
            tokenEmbedding,
          });
        }
        case 'classes': {
          const start = purpose.isNew ? {fresh: deviation} : {};
          return net.dense('classifier', [width, purpose.labels], pooled(), start);
        }
        default:
          return encoderHead(net, x, {...purpose, width, deviation, pooled});
      }
      return pooledStates(net, config, purpose.pooling, [x, inputs.mask]);
    },
  };
}

/** The states of the last block. */
function states(
  net: Net,
  config: HubConfig,
  inputs: ModelInputs,
  {
    root,
    tokenEmbedding,
    sizes,
    purpose,
    projections,
    afterFirst,
  }: Pick<Variant, 'projections' | 'afterFirst'> & {
    root: string;
    tokenEmbedding: string;
    sizes: DebertaSizes;
    purpose: Purpose;
  },
): NetTensor {
  const {mask} = inputs;
  const embedded = embeddings(net, config, inputs, {root, tokenEmbedding, sizes, purpose});
  const encoder = nameOf(root, 'encoder');
  const distances = distancesOf(config);
  const table = distances && distanceTable(net, config, encoder, {distances, sizes}, embedded);
  const count = config.count('num_hidden_layers');
  const convolved = afterFirst?.(net, config, sizes);
  let x = embedded;
  for (let i = 0; i < count; i++) {
    const layer = nameOf(encoder, 'layer', i);
    const blockInputs = table === undefined ? [x, mask] : [x, mask, table];
    const parts = {sizes, distances, scale: scaleOf(config, sizes), projections};
    x = net.block({name: `${layer}/block`, index: i, count}, blockInputs, ([input = null, seen = null, rows = null]) =>
      disentangledBlock(net, layer, parts, [input, seen, rows]),
    );
    if (i === 0 && convolved !== undefined) {
      x = convolved(nameOf(encoder, 'conv'), [embedded, x, mask]);
    }
  }
  return x;
}

function embeddings(
  net: Net,
  config: HubConfig,
  {ids, mask, types}: ModelInputs,
  {root, tokenEmbedding, sizes, purpose}: {root: string; tokenEmbedding: string; sizes: DebertaSizes; purpose: Purpose},
): NetTensor {
  const {width, tableWidth, epsilon} = sizes;
  const at = (name: string) => nameOf(root, 'embeddings', name);
  let x = net.embedding(tokenEmbedding, config.count('vocab_size'), tableWidth, ids);
  const typeCount = config.get('type_vocab_size') === undefined ? 0 : config.nonNegative('type_vocab_size');
  if (typeCount > 0) {
    x = net.types(at('token_type_embeddings'), typeCount, tableWidth, purpose.tokenTypes ? [x, types] : [x]);
  }
  const rows = config.count('max_position_embeddings', 512);
  if (config.flag('position_biased_input', true)) {
    x = net.positions(at('position_embeddings'), {rows, width: tableWidth}, [x]);
  }
  if (tableWidth !== width) {
    x = net.dense(at('embed_proj'), [tableWidth, width], x, {bias: false});
  }
  return shownOf(net, at('shown'), [net.layerNorm(at('LayerNorm'), width, epsilon, [x]), mask]);
}

export const DEBERTA_ACTIVATIONS: Readonly<Record<string, ActivationName>> = {...HUB_ACTIVATIONS, tanh: 'tanh'};

/** The state of the first token through a dense layer. Under a new head it is new too if the files lack it. */
function contextPooler(
  net: Net,
  config: HubConfig,
  x: NetTensor,
  {width, deviation, isNew}: {width: number; deviation: number; isNew: boolean},
): NetTensor {
  config.expect('pooler_hidden_size', width);
  const activation = config.choice('pooler_hidden_act', DEBERTA_ACTIVATIONS, 'gelu');
  const start = isNew && !net.hasLinear('pooler/dense') ? {fresh: deviation} : {};
  const first = net.pool('pooler/first', 'first', [x]);
  return net.activation('pooler/activation', activation, net.dense('pooler/dense', [width, width], first, start));
}

/** The modules of the head for masked tokens; there are two variants. */
function maskedHead(
  config: HubConfig,
  {width}: DebertaSizes,
): {transform: string; norm: string; decoder: string; bias?: string} {
  if (config.flag('legacy', true)) {
    return BERT_HEAD;
  }
  config.expect('tie_word_embeddings', true);
  config.expect('embedding_size', width);
  const at = 'lm_predictions/lm_head';
  return {transform: `${at}/dense`, norm: `${at}/LayerNorm`, decoder: at};
}
