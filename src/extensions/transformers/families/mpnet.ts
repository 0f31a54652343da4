import {BERT_BLOCK, encoder, firstClassifier, LM_HEAD} from './encoder';
import {classesOf, ENCODER_ENDS, nameOf} from '../net/architecture';

/** MPNet, whose attention has a bias for distances. (Song et al., arXiv 2004.09297.) */
export const mpnet = encoder({
  prefix: 'mpnet',
  classes: classesOf('MPNet', ENCODER_ENDS),
  types: false,
  // The config is ignored, as in transformers.
  padding: () => 1,
  relativeBias: (net, config, root, x) => {
    config.expect('relative_attention_num_buckets', 32);
    const sizes: [number, number] = [32, config.count('num_attention_heads')];
    return net.relativeBias(nameOf(root, 'encoder/relative_attention_bias'), sizes, x);
  },
  modules: {
    ...BERT_BLOCK,
    attention: 'attention/attn',
    projections: ['attention/attn/q', 'attention/attn/k', 'attention/attn/v'],
    attended: 'attention/attn/o',
    norms: ['attention/LayerNorm', 'output/LayerNorm'],
  },
  classify: firstClassifier('tanh'),
  masked: LM_HEAD,
});
