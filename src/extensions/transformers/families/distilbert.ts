import {classesOf, ENCODER_ENDS, HUB_ACTIVATIONS, type Architecture, nameOf} from '../net/architecture';
import type {NetTensor} from '../net/net';
import {encoderHead, maskedTokens} from './encoderHeads';
import {type BlockModules, plainBlock} from './plainBlock';
import {pooledStates} from './pooling';

const MODULES: BlockModules = {
  ...{attention: 'attention', attended: 'attention/out_lin', norms: ['sa_layer_norm', 'output_layer_norm']},
  ...{feedForward: 'ffn', wide: 'ffn/lin1', activation: 'ffn/activation', narrow: 'ffn/lin2'},
};

/** DistilBERT: BERT without token types and without a pooler. (Sanh et al., arXiv 1910.01108.) */
export const distilbert: Architecture = {
  prefix: 'distilbert',
  commonNames: {dim: 'hidden_size', n_heads: 'num_attention_heads', n_layers: 'num_hidden_layers'},
  classes: classesOf('DistilBert', ENCODER_ENDS),
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
    x = net.blocks(nameOf(root, 'transformer/layer'), count, [x, mask], (layer, [input = null, seen = null]) => {
      const self = nameOf(layer, 'attention');
      const attend = (states: NetTensor) => {
        const parts = ['q_lin', 'k_lin', 'v_lin'].map(name => net.dense(nameOf(self, name), [width, width], states));
        return net.attention(self, [...parts, seen], {heads});
      };
      const sizes = {width, inner, epsilon, activation};
      return plainBlock(net, layer, {...sizes, modules: MODULES, order: 'after', attend}, input);
    });
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
