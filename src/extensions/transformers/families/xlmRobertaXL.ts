import {classesOf, ENCODER_ENDS} from '../net/architecture';
import {BERT_BLOCK, encoder, firstClassifier, LM_HEAD} from './encoder';

/** XLM-R XL and XXL: an XLM-RoBERTa with normalizations before each part. (Goyal et al., arXiv 2105.00572.) */
export const xlmRobertaXL = encoder({
  prefix: 'roberta',
  classes: classesOf('XLMRobertaXL', ENCODER_ENDS),
  epsilon: 1e-5,
  normsBefore: true,
  modules: {...BERT_BLOCK, norms: ['attention/self_attn_layer_norm', 'LayerNorm']},
  padding: config => config.index('pad_token_id', {otherwise: 1, below: 'vocab_size'}),
  classify: firstClassifier('tanh'),
  masked: LM_HEAD,
});
