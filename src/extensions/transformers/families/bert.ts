import {classesOf, ENCODER_ENDS} from '../net/architecture';
import {BERT_HEAD, encoder, pooledClassifier} from './encoder';

/** BERT and models with the same architecture, such as MiniLM and E5. (Devlin et al., arXiv 1810.04805.) */
export const bert = encoder({
  prefix: 'bert',
  classes: classesOf('Bert', ENCODER_ENDS),
  padding: () => undefined,
  classify: pooledClassifier,
  masked: BERT_HEAD,
});
