import type {Head} from '../net/architecture';
import {encoder, firstClassifier, LM_HEAD} from './encoder';

/** RoBERTa, XLM-RoBERTa and CamemBERT. (Liu et al., arXiv 1907.11692.) */
export const roberta = encoder({
  prefix: 'roberta',
  classes: Object.fromEntries(
    ['Roberta', 'XLMRoberta', 'Camembert'].flatMap((family): [string, Head][] => [
      [`${family}Model`, 'none'],
      [`${family}ForSequenceClassification`, 'classes'],
      [`${family}ForTokenClassification`, 'tokenClasses'],
      [`${family}ForQuestionAnswering`, 'spans'],
      [`${family}ForMaskedLM`, 'tokens'],
      [`${family}ForMultipleChoice`, 'choices'],
    ]),
  ),
  padding: config => config.index('pad_token_id', {otherwise: 1, below: 'vocab_size'}),
  classify: firstClassifier('tanh'),
  masked: LM_HEAD,
});
