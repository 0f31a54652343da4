import {HUB_ACTIVATIONS, type Architecture, type ModelInputs, nameOf, type Purpose} from './architecture';
import type {HubConfig} from './hubConfig';
import type {Net, NetTensor} from './net';

/** What differs between BERT and RoBERTa. */
interface Variant {
  prefix: 'bert' | 'roberta';
  classes: Architecture['classes'];
  /** The padding token, where places begin at the row behind it and skip it. */
  padding(config: HubConfig): number | undefined;
  /** The head for classes, over the states. */
  classify(net: Net, states: NetTensor, root: string, width: number, purpose: Purpose & {deviation: number}): NetTensor;
}

/** Encoders whose normalizations follow the sums, as those of BERT. (Devlin et al., arXiv 1810.04805.) */
function encoder(variant: Variant): Architecture {
  return {
    prefix: variant.prefix,
    classes: variant.classes,
    commonNames: {},
    blocks: config => config.count('num_hidden_layers'),
    vocabulary: config => config.count('vocab_size'),
    places: config => config.count('max_position_embeddings') - offsetOf(variant.padding(config)),
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
  const epsilon = config.number('layer_norm_eps', 1e-12);
  const activation = config.choice('hidden_act', HUB_ACTIVATIONS, 'gelu');
  config.expect('position_embedding_type', 'absolute', null);
  config.expect('is_decoder', false);
  config.expect('add_cross_attention', false);
  if (width % heads !== 0) {
    config.fault(`hidden_size ${width} is no multiple of num_attention_heads ${heads}.`);
  }
  const root = purpose.head === 'none' ? '' : variant.prefix;
  const embeddings = nameOf(root, 'embeddings');
  let x = net.embedding(nameOf(embeddings, 'word_embeddings'), config.count('vocab_size'), width, ids);
  const typeInputs = purpose.tokenTypes ? [x, types] : [x];
  x = net.types(nameOf(embeddings, 'token_type_embeddings'), config.count('type_vocab_size', 2), width, typeInputs);
  const places = config.count('max_position_embeddings');
  const padding = variant.padding(config);
  const placed = padding === undefined ? [x] : [x, ids];
  x = net.positions(nameOf(embeddings, 'position_embeddings'), {rows: places, width, padding}, placed);
  x = net.layerNorm(nameOf(embeddings, 'LayerNorm'), width, epsilon, [x]);
  const count = config.count('num_hidden_layers');
  for (let i = 0; i < count; i++) {
    const layer = nameOf(root, 'encoder/layer', i);
    x = net.block({name: `${layer}/block`, index: i, count}, [x, mask], ([input = null, seen = null]) => {
      const self = nameOf(layer, 'attention/self');
      const [q, k, v] = ['query', 'key', 'value'].map(name => net.dense(nameOf(self, name), [width, width], input)) as [
        NetTensor,
        NetTensor,
        NetTensor,
      ];
      const attended = net.attention(self, [q, k, v, seen], {heads});
      const projected = net.dense(nameOf(layer, 'attention/output/dense'), [width, width], attended);
      const middle = net.layerNorm(nameOf(layer, 'attention/output/LayerNorm'), width, epsilon, [projected, input]);
      const wide = net.dense(nameOf(layer, 'intermediate/dense'), [width, inner], middle);
      const active = net.activation(nameOf(layer, 'intermediate/intermediate_act_fn'), activation, wide);
      const narrow = net.dense(nameOf(layer, 'output/dense'), [inner, width], active);
      return net.layerNorm(nameOf(layer, 'output/LayerNorm'), width, epsilon, [narrow, middle]);
    });
  }
  const deviation = config.number('initializer_range', 0.02, 1);
  if (purpose.head === 'classes') {
    return variant.classify(net, x, root, width, {...purpose, deviation});
  }
  switch (purpose.pooling) {
    case 'none':
      return x;
    case 'pooler':
      return pooler(net, x, root, width);
    default:
      return net.pool('pooling', purpose.pooling, [x, mask]);
  }
}

/** The row of the table of places that the first token has. */
function offsetOf(padding: number | undefined): number {
  return padding === undefined ? 0 : padding + 1;
}

/** BERT's own: the state of the first token through a layer with tanh. */
function pooler(net: Net, states: NetTensor, root: string, width: number): NetTensor {
  const first = net.pool(nameOf(root, 'pooler/first'), 'first', [states]);
  return net.activation(
    nameOf(root, 'pooler/activation'),
    'tanh',
    net.dense(nameOf(root, 'pooler/dense'), [width, width], first),
  );
}

export const bert: Architecture = encoder({
  prefix: 'bert',
  classes: {BertModel: 'none', BertForSequenceClassification: 'classes'},
  padding: () => undefined,
  classify: (net, states, root, width, {labels, isNew, deviation}) =>
    net.dense('classifier', [width, labels], pooler(net, states, root, width), isNew ? {fresh: deviation} : {}),
});

export const roberta: Architecture = encoder({
  prefix: 'roberta',
  classes: {
    RobertaModel: 'none',
    RobertaForSequenceClassification: 'classes',
    XLMRobertaModel: 'none',
    XLMRobertaForSequenceClassification: 'classes',
  },
  padding: config => config.index('pad_token_id', {otherwise: 1, below: 'vocab_size'}),
  classify: (net, states, _, width, {labels, isNew, deviation}) => {
    const start = isNew ? {fresh: deviation} : {};
    const first = net.pool('classifier/first', 'first', [states]);
    const dense = net.dense('classifier/dense', [width, width], first, start);
    const active = net.activation('classifier/activation', 'tanh', dense);
    return net.dense('classifier/out_proj', [width, labels], active, start);
  },
});
