import type {Head} from './architecture';
import {encoder} from './encoder';

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
  classify: (net, states, _, width, {labels, isNew, deviation}) => {
    const start = isNew ? {fresh: deviation} : {};
    const first = net.pool('classifier/first', 'first', [states]);
    const dense = net.dense('classifier/dense', [width, width], first, start);
    const active = net.activation('classifier/activation', 'tanh', dense);
    return net.dense('classifier/out_proj', [width, labels], active, start);
  },
  masked: {
    transform: 'lm_head/dense',
    norm: 'lm_head/layer_norm',
    decoder: 'lm_head/decoder',
    bias: 'lm_head.bias',
    activation: 'gelu',
  },
});
