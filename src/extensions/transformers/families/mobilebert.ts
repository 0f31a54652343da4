import {classesOf, ENCODER_ENDS, type Architecture, HUB_ACTIVATIONS, nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {Net, NetTensor} from '../net/net';
import {Affine} from '../layers/affine';
import {Trigrams} from '../layers/trigrams';
import {WidthPart} from '../layers/widthPart';
import {pooler} from './encoder';
import {encoderHead} from './encoderHeads';
import {pooledStates} from './pooling';

const NORMS = {no_norm: 'no_norm', layer_norm: 'layer_norm'} as const;

/**
 * MobileBERT: narrow blocks between bottlenecks, with several feed-forward parts, and sums that are scaled instead of
 * normalized. (Sun et al., arXiv 2004.02984.)
 */
export const mobilebert: Architecture = {
  prefix: 'mobilebert',
  // The config decides which of its bottlenecks and projections a model uses.
  uncomputed: /^pooler\.|^embeddings\.embedding_transformation\.|\.bottleneck\.attention\./,
  classes: classesOf('MobileBert', ENCODER_ENDS),
  blocks: config => config.count('num_hidden_layers'),
  vocabulary: config => config.count('vocab_size'),
  positions: config => config.count('max_position_embeddings'),
  build: (net, config, {ids, mask, types}, purpose) => {
    const {head, pooling, labels, isNew} = purpose;
    const width = config.count('hidden_size');
    const heads = config.count('num_attention_heads');
    const inner = config.count('intermediate_size');
    const epsilon = config.number('layer_norm_eps', 1e-12);
    const activation = config.choice('hidden_act', HUB_ACTIVATIONS, 'relu');
    const isPlain = config.choice('normalization_type', NORMS, 'no_norm') === 'no_norm';
    const hasBottleneck = config.flag('use_bottleneck', true);
    const between = config.count('intra_bottleneck_size', 128);
    const narrow = hasBottleneck ? between : width;
    const ofValues = config.flag('use_bottleneck_attention', false);
    const ofQueries = config.flag('key_query_shared_bottleneck', true);
    const parts = config.count('num_feedforward_networks', 4);
    config.expect('true_hidden_size', narrow);
    const valueWidth = ofValues ? narrow : width;
    config.expectMultiple(['The width of blocks', narrow], ['num_attention_heads', heads]);
    if (hasBottleneck && !ofValues && !ofQueries && narrow !== width) {
      config.fault('With use_bottleneck, key_query_shared_bottleneck or use_bottleneck_attention must be true.');
    }
    const norm = (name: string, size: number, inputs: NetTensor[], normEpsilon = epsilon) => {
      if (!isPlain) {
        return net.layerNorm(name, size, normEpsilon, inputs);
      }
      net.expect(name, 'weight', [size], 'gamma');
      net.expect(name, 'bias', [size], 'beta');
      return net.apply(name, inputs, () => new Affine({name}));
    };

    const root = head === 'none' ? '' : 'mobilebert';
    const unread = nameOf(root, 'encoder/layer/0/bottleneck/attention/dense');
    if (hasBottleneck && ofValues && ofQueries && !net.hasLinear(unread)) {
      config.fault('key_query_shared_bottleneck is true, but the files have no bottleneck for queries and keys.');
    }
    const embeddings = nameOf(root, 'embeddings');
    const tokenEmbedding = nameOf(embeddings, 'word_embeddings');
    const vocabulary = config.count('vocab_size');
    const tableWidth = config.count('embedding_size', 128);
    const hasTrigrams = config.flag('trigram_input', true);
    let x = net.embedding(tokenEmbedding, vocabulary, tableWidth, ids);
    if (hasTrigrams) {
      const name = nameOf(embeddings, 'trigrams');
      x = net.apply(name, [x], () => new Trigrams({name}));
    }
    if (hasTrigrams || tableWidth !== width) {
      const from = hasTrigrams ? 3 * tableWidth : tableWidth;
      x = net.dense(nameOf(embeddings, 'embedding_transformation'), [from, width], x);
    }
    const positions = config.count('max_position_embeddings');
    x = net.positions(nameOf(embeddings, 'position_embeddings'), {rows: positions, width}, [x]);
    const typeCount = config.count('type_vocab_size', 2);
    const typeInputs = purpose.tokenTypes ? [x, types] : [x];
    x = net.types(nameOf(embeddings, 'token_type_embeddings'), typeCount, width, typeInputs);
    // This normalization, and the last one in a block, have the usual epsilon of PyTorch.
    x = norm(nameOf(embeddings, 'LayerNorm'), width, [x], 1e-5);

    const count = config.count('num_hidden_layers');
    x = net.blocks(nameOf(root, 'encoder/layer'), count, [x, mask], (layer, [input = null, seen = null]) => {
      const dense = (name: string, sizes: [number, number], states: NetTensor) =>
        net.dense(nameOf(layer, name), sizes, states);
      const narrowed = (name: string) =>
        norm(nameOf(layer, name, 'LayerNorm'), narrow, [dense(`${name}/dense`, [width, narrow], input)]);
      const narrowInput = hasBottleneck ? narrowed('bottleneck/input') : input;
      const shared = hasBottleneck && !ofValues ? (ofQueries ? narrowed('bottleneck/attention') : input) : narrowInput;
      const q = dense('attention/self/query', [narrow, narrow], shared);
      const k = dense('attention/self/key', [narrow, narrow], shared);
      const v = dense('attention/self/value', [valueWidth, narrow], ofValues ? narrowInput : input);
      const attended = net.attention(nameOf(layer, 'attention/self'), [q, k, v, seen], {heads});
      const projected = dense('attention/output/dense', [narrow, narrow], attended);
      let y = norm(nameOf(layer, 'attention/output/LayerNorm'), narrow, [projected, narrowInput]);
      const wide = (name: string) =>
        net.activation(
          nameOf(layer, name, 'intermediate_act_fn'),
          activation,
          dense(`${name}/dense`, [narrow, inner], y),
        );
      for (let layerIndex = 0; layerIndex < parts - 1; layerIndex++) {
        const back = dense(`ffn/${layerIndex}/output/dense`, [inner, narrow], wide(`ffn/${layerIndex}/intermediate`));
        y = norm(nameOf(layer, 'ffn', layerIndex, 'output/LayerNorm'), narrow, [back, y]);
      }
      const back = dense('output/dense', [inner, narrow], wide('intermediate'));
      y = norm(nameOf(layer, 'output/LayerNorm'), narrow, [back, y], 1e-5);
      return hasBottleneck
        ? norm(nameOf(layer, 'output/bottleneck/LayerNorm'), width, [
            dense('output/bottleneck/dense', [narrow, width], y),
            input,
          ])
        : y;
    });

    const deviation = config.number('initializer_range', 0.02, 1);
    const pooled = () =>
      config.flag('classifier_activation', true)
        ? pooler(net, x, root, width, {isNew, deviation})
        : net.pool(nameOf(root, 'pooler/first'), 'first', [x]);
    if (head === 'tokens') {
      return maskedTokens(net, config, x, {width, tableWidth, vocabulary, tokenEmbedding, activation, epsilon});
    }
    if (head === 'classes') {
      return net.dense('classifier', [width, labels], pooled(), isNew ? {fresh: deviation} : {});
    }
    return pooling === 'none'
      ? encoderHead(net, x, {...purpose, width, deviation, pooled})
      : pooledStates(net, config, pooling, [x, mask], pooled);
  },
};

/** Logits for masked tokens: the first values times the token embedding, plus the others times a matrix. */
function maskedTokens(
  net: Net,
  config: HubConfig,
  states: NetTensor,
  {width, tableWidth, vocabulary, tokenEmbedding, activation, epsilon}: MaskedTokens,
): NetTensor {
  const head = 'cls/predictions';
  const dense = net.dense(`${head}/transform/dense`, [width, width], states);
  const active = net.activation(`${head}/transform/transform_act_fn`, activation, dense);
  const x = net.layerNorm(`${head}/transform/LayerNorm`, width, epsilon, [active]);
  const decoder = `${head}/decoder`;
  if (tableWidth >= width) {
    config.fault(`embedding_size (${tableWidth}) must be below hidden_size (${width}) for masked tokens.`);
    return x;
  }
  const columns = (name: string, index: number, span: number) =>
    net.apply(name, [x], () => new WidthPart({index, of: width, span, name}));
  const [first, otherColumns] = [
    columns(`${head}/first`, 0, tableWidth),
    columns(`${head}/others`, tableWidth, width - tableWidth),
  ];
  const bias = {bias: true, biasOrElse: 'cls.predictions.bias'};
  const sizes: [number, number] = [tableWidth, vocabulary];
  return net.add(`${head}/sum`, [
    config.flag('tie_word_embeddings', true)
      ? net.tied(decoder, tokenEmbedding, sizes, first, bias)
      : net.dense(decoder, sizes, first, bias),
    net.dense(`${head}/dense`, [width - tableWidth, vocabulary], otherColumns, {bias: false, conv1d: true}),
  ]);
}

interface MaskedTokens {
  width: number;
  tableWidth: number;
  vocabulary: number;
  tokenEmbedding: string;
  activation: (typeof HUB_ACTIVATIONS)[string];
  epsilon: number;
}
