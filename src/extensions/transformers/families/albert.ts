import {classesOf, ENCODER_ENDS} from '../net/architecture';
import {encoder, pooledClassifier} from './encoder';
import type {HubConfig} from '../net/hubConfig';

/** ALBERT, whose blocks share their weights and whose embeddings are narrower. (Lan et al., arXiv 1909.11942.) */
export const albert = encoder({
  prefix: 'albert',
  classes: classesOf('Albert', ENCODER_ENDS),
  tableWidth: config => config.count('embedding_size', 128),
  widened: 'encoder/embedding_hidden_mapping_in',
  blocks: sharedBlocks,
  groups: config => config.count('num_hidden_groups', 1),
  modules: {
    attention: 'attention',
    projections: ['attention/query', 'attention/key', 'attention/value'],
    attended: 'attention/dense',
    norms: ['attention/LayerNorm', 'full_layer_layer_norm'],
    ...{feedForward: '', wide: 'ffn', activation: 'activation', narrow: 'ffn_output'},
  },
  activation: 'gelu_new',
  pooler: 'pooler',
  padding: () => undefined,
  classify: pooledClassifier,
  masked: {
    transform: 'predictions/dense',
    norm: 'predictions/LayerNorm',
    decoder: 'predictions/decoder',
    bias: 'predictions.bias',
  },
});

/** More than any ALBERT has. The files hold shared blocks once, so their size does not limit the number. */
const MAX_BLOCKS = 1000;

/** Consecutive blocks belong to one group, which computes all of its layers each time. */
function sharedBlocks(config: HubConfig): string[] {
  const count = config.count('num_hidden_layers');
  const groups = config.count('num_hidden_groups', 1);
  const layersPerGroup = config.count('inner_group_num', 1);
  if (count * layersPerGroup > MAX_BLOCKS) {
    config.fault(`num_hidden_layers · inner_group_num must be at most ${MAX_BLOCKS}, got ${count * layersPerGroup}.`);
    return [];
  }
  if (groups > count) {
    config.fault(`num_hidden_groups must be at most num_hidden_layers (${count}), got ${groups}.`);
  }
  return Array.from({length: count}, (_, i) => {
    const group = Math.floor(i / (count / groups));
    return Array.from({length: layersPerGroup}, (_, j) => `encoder/albert_layer_groups/${group}/albert_layers/${j}`);
  }).flat();
}
