import {encoder, pooledClassifier} from './encoder';

/** BERT and models with the same architecture, such as MiniLM and E5. (Devlin et al., arXiv 1810.04805.) */
export const bert = encoder({
  prefix: 'bert',
  classes: {
    BertModel: 'none',
    BertForSequenceClassification: 'classes',
    BertForTokenClassification: 'tokenClasses',
    BertForQuestionAnswering: 'spans',
    BertForMaskedLM: 'tokens',
    BertForMultipleChoice: 'choices',
  },
  padding: () => undefined,
  classify: pooledClassifier,
  masked: {
    transform: 'cls/predictions/transform/dense',
    norm: 'cls/predictions/transform/LayerNorm',
    decoder: 'cls/predictions/decoder',
    bias: 'cls.predictions.bias',
  },
});
