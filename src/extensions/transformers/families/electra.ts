import {classesOf, ENCODER_ENDS} from '../net/architecture';
import {encoder, firstClassifier} from './encoder';

/** ELECTRA, whose embeddings may be narrower than its blocks. (Clark et al., arXiv 2003.10555.) */
export const electra = encoder({
  prefix: 'electra',
  classes: classesOf('Electra', ENCODER_ENDS),
  tableWidth: config => config.count('embedding_size', 128),
  padding: () => undefined,
  classify: firstClassifier('gelu'),
  summarize: (net, config, states, width, {isNew, deviation}) => {
    config.expect('summary_type', 'first');
    config.expect('summary_use_proj', true);
    config.expect('summary_activation', 'gelu');
    const first = net.pool('sequence_summary/first', 'first', [states]);
    const start = isNew ? {fresh: deviation} : {};
    const dense = net.dense('sequence_summary/summary', [width, width], first, start);
    return net.activation('sequence_summary/activation', 'gelu', dense);
  },
  masked: {
    transform: 'generator_predictions/dense',
    norm: 'generator_predictions/LayerNorm',
    decoder: 'generator_lm_head',
    bias: 'generator_lm_head.bias',
    activation: 'gelu',
  },
});
