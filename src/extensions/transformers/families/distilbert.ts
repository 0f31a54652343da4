import {HUB_ACTIVATIONS, type Architecture, nameOf} from '../net/architecture';
import type {NetTensor} from '../net/net';
import {type BehindAttention, behindAttention} from './encoderBlock';
import {encoderHead, maskedTokens} from './encoderHeads';
import {pooledStates} from './pooling';

const MODULES: BehindAttention = {
  attended: 'attention/out_lin',
  attendedNorm: 'sa_layer_norm',
  wide: 'ffn/lin1',
  activation: 'ffn/activation',
  narrow: 'ffn/lin2',
  norm: 'output_layer_norm',
};

/** DistilBERT: BERT without token types and without a pooler. (Sanh et al., arXiv 1910.01108.) */
export const distilbert: Architecture = {
  prefix: 'distilbert',
  commonNames: {dim: 'hidden_size', n_heads: 'num_attention_heads', n_layers: 'num_hidden_layers'},
  classes: {
    DistilBertModel: 'none',
    DistilBertForSequenceClassification: 'classes',
    DistilBertForTokenClassification: 'tokenClasses',
    DistilBertForQuestionAnswering: 'spans',
    DistilBertForMaskedLM: 'tokens',
    DistilBertForMultipleChoice: 'choices',
  },
  blocks: config => config.count('n_layers'),
  vocabulary: config => config.count('vocab_size'),
  positions: config => config.count('max_position_embeddings'),
  build: (net, config, {ids, mask}, purpose) => {
    const {head, pooling, labels, isNew} = purpose;
    const width = config.count('dim');
    const heads = config.count('n_heads');
    const inner = config.count('hidden_dim');
    const epsilon = 1e-12;
    const activation = config.choice('activation', HUB_ACTIVATIONS, 'gelu');
    config.expectMultiple(['dim', width], ['n_heads', heads]);
    const root = head === 'none' ? '' : 'distilbert';
    const embeddings = nameOf(root, 'embeddings');
    const tokenEmbedding = nameOf(embeddings, 'word_embeddings');
    const vocabulary = config.count('vocab_size');
    let x = net.embedding(tokenEmbedding, vocabulary, width, ids);
    const positions = config.count('max_position_embeddings');
    x = net.positions(nameOf(embeddings, 'position_embeddings'), {rows: positions, width}, [x]);
    x = net.layerNorm(nameOf(embeddings, 'LayerNorm'), width, epsilon, [x]);
    const count = config.count('n_layers');
    for (let i = 0; i < count; i++) {
      const layer = nameOf(root, 'transformer/layer', i);
      x = net.block({name: `${layer}/block`, index: i, count}, [x, mask], ([input = null, seen = null]) => {
        const self = nameOf(layer, 'attention');
        const [q, k, v] = ['q_lin', 'k_lin', 'v_lin'].map(name =>
          net.dense(nameOf(self, name), [width, width], input),
        ) as [NetTensor, NetTensor, NetTensor];
        const attended = net.attention(self, [q, k, v, seen], {heads});
        return behindAttention(net, layer, MODULES, {width, inner, epsilon, activation}, [attended, input]);
      });
    }
    const deviation = config.number('initializer_range', 0.02, 1);
    const start = isNew ? {fresh: deviation} : {};
    const pooled = (): NetTensor => {
      const first = net.pool('first', 'first', [x]);
      const dense = net.dense('pre_classifier', [width, width], first, start);
      return net.activation('pre_classifier/relu', 'relu', dense);
    };
    switch (head) {
      case 'none':
        break;
      case 'classes':
        return net.dense('classifier', [width, labels], pooled(), start);
      case 'tokens': {
        const names = {transform: 'vocab_transform', norm: 'vocab_layer_norm', decoder: 'vocab_projector'};
        return maskedTokens(net, config, x, {...names, activation, epsilon, width, vocabulary, tokenEmbedding});
      }
      default:
        return encoderHead(net, x, {...purpose, width, deviation, pooled});
    }
    return pooledStates(net, config, pooling, [x, mask], 'DistilBERT has no pooler.');
  },
};
