import {classesOf, ENCODER_ENDS} from '../net/architecture';
import {encoder, firstClassifier, LM_HEAD} from './encoder';

/** RoBERTa, XLM-RoBERTa and CamemBERT. (Liu et al., arXiv 1907.11692.) */
export const roberta = encoder({
  prefix: 'roberta',
  classes: {
    ...classesOf('Roberta', ENCODER_ENDS),
    ...classesOf('XLMRoberta', ENCODER_ENDS),
    ...classesOf('Camembert', ENCODER_ENDS),
  },
  padding: config => config.index('pad_token_id', {otherwise: 1, below: 'vocab_size'}),
  classify: firstClassifier('tanh'),
  masked: LM_HEAD,
});
