import * as tf from '@tensorflow/tfjs';
import {type Architecture, HUB_ACTIVATIONS, type ModelInputs, nameOf, type Purpose} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {ActivationName, Net, NetTensor} from '../net/net';
import {
  debertaSizes,
  type DebertaSizes,
  disentangledBlock,
  distancesOf,
  distanceTable,
  integer,
  scaleOf,
  shownOf,
} from './disentangled';
import {encoderHead, maskedTokens} from './encoderHeads';
import {pooledStates} from './pooling';

/**
 * DeBERTa-v2 and v3: attention between contents, and between contents and distances. (He et al., arXiv 2006.03654 and
 * 2111.09543.)
 */
export const debertaV2: Architecture = {
  prefix: 'deberta',
  classes: {
    DebertaV2Model: 'none',
    DebertaV2ForSequenceClassification: 'classes',
    DebertaV2ForTokenClassification: 'tokenClasses',
    DebertaV2ForQuestionAnswering: 'spans',
    DebertaV2ForMaskedLM: 'tokens',
    DebertaV2ForMultipleChoice: 'choices',
  },
  unused: /^embeddings\.position_embeddings\./,
  uncomputed: /^encoder\.(LayerNorm|rel_embeddings)\./,
  commonNames: {},
  blocks: config => config.count('num_hidden_layers', 24),
  vocabulary: config => config.count('vocab_size', VOCABULARY),
  build: (net, config, inputs, purpose) => {
    const sizes = debertaSizes(config);
    const {width, epsilon, activation, tableWidth} = sizes;
    const root = purpose.head === 'none' ? '' : 'deberta';
    const tokenEmbedding = nameOf(root, 'embeddings/word_embeddings');
    const x = states(net, config, inputs, {root, tokenEmbedding, sizes, purpose});
    const deviation = config.number('initializer_range', 0.02, 1);
    const pooled = () => contextPooler(net, config, x, {width, deviation, isNew: purpose.isNew});
    switch (purpose.head) {
      case 'none':
        break;
      case 'tokens': {
        const vocabulary = config.count('vocab_size', VOCABULARY);
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

const VOCABULARY = 128_100;

/** The states of the last block. */
function states(
  net: Net,
  config: HubConfig,
  inputs: ModelInputs,
  {root, tokenEmbedding, sizes, purpose}: {root: string; tokenEmbedding: string; sizes: DebertaSizes; purpose: Purpose},
): NetTensor {
  const {mask} = inputs;
  const embedded = embeddings(net, config, inputs, {root, tokenEmbedding, sizes, purpose});
  const encoder = nameOf(root, 'encoder');
  const distances = distancesOf(config);
  const table = distances && distanceTable(net, config, encoder, {distances, sizes}, embedded);
  const count = config.count('num_hidden_layers', 24);
  const convolution = convolutionOf(config);
  let x = embedded;
  for (let i = 0; i < count; i++) {
    const layer = nameOf(encoder, 'layer', i);
    const given = table === undefined ? [x, mask] : [x, mask, table];
    const parts = {sizes, distances, scale: scaleOf(config, sizes)};
    x = net.block({name: `${layer}/block`, index: i, count}, given, ([input = null, seen = null, rows = null]) =>
      disentangledBlock(net, layer, parts, [input, seen, rows]),
    );
    if (i === 0 && convolution !== undefined) {
      x = convolved(net, nameOf(encoder, 'conv'), {...sizes, ...convolution}, [embedded, x, mask]);
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
  let x = net.embedding(tokenEmbedding, config.count('vocab_size', VOCABULARY), tableWidth, ids);
  const typeCount = config.get('type_vocab_size') === undefined ? 0 : config.whole('type_vocab_size');
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

const ACTIVATIONS: Readonly<Record<string, ActivationName>> = {...HUB_ACTIVATIONS, tanh: 'tanh'};

interface Convolution {
  kernel: number;
  active: ActivationName;
}

/** The convolution parallel to the first block, if there is one. */
function convolutionOf(config: HubConfig): Convolution | undefined {
  const kernel = integer(config, 'conv_kernel_size', 0);
  if (kernel < 1) {
    return undefined;
  }
  if (kernel % 2 === 0) {
    config.fault(`conv_kernel_size must be odd, so that the length stays the same; got ${kernel}.`);
  }
  config.expect('conv_groups', 1);
  return {kernel, active: config.choice('conv_act', ACTIVATIONS, 'tanh')};
}

/** Inputs are the input of the convolution, the states that it is added to, and the mask. */
function convolved(
  net: Net,
  name: string,
  {width, epsilon, kernel, active}: Pick<DebertaSizes, 'width' | 'epsilon'> & Convolution,
  [x, residual, mask]: [x: NetTensor, residual: NetTensor, mask: NetTensor],
): NetTensor {
  const conv = nameOf(name, 'conv');
  net.expect(conv, 'weight', [width, width, kernel], 'kernel', {axes: [2, 1, 0]});
  net.expect(conv, 'bias', [width], 'bias');
  const settings = {filters: width, kernelSize: kernel, padding: 'same' as const, name: conv};
  const shown = shownOf(net, nameOf(conv, 'shown'), [net.apply(conv, [x], () => tf.layers.conv1d(settings)), mask]);
  const activated = net.activation(nameOf(name, 'act'), active, shown);
  const sum = net.layerNorm(nameOf(name, 'LayerNorm'), width, epsilon, [residual, activated]);
  return shownOf(net, nameOf(name, 'shown'), [sum, mask]);
}

/** The state of the first token through a dense layer. Under a new head it is new too if the files lack it. */
function contextPooler(
  net: Net,
  config: HubConfig,
  x: NetTensor,
  {width, deviation, isNew}: {width: number; deviation: number; isNew: boolean},
): NetTensor {
  config.expect('pooler_hidden_size', width);
  const activation = config.choice('pooler_hidden_act', ACTIVATIONS, 'gelu');
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
    const at = 'cls/predictions';
    const names = {transform: `${at}/transform/dense`, norm: `${at}/transform/LayerNorm`};
    return {...names, decoder: `${at}/decoder`, bias: 'cls.predictions.bias'};
  }
  config.expect('tie_word_embeddings', true);
  config.expect('embedding_size', width);
  const at = 'lm_predictions/lm_head';
  return {transform: `${at}/dense`, norm: `${at}/LayerNorm`, decoder: at};
}
