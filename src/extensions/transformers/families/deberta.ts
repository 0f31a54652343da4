import {classesOf, ENCODER_ENDS, nameOf} from '../net/architecture';
import {WidthPart} from '../layers/widthPart';
import type {NetTensor} from '../net/net';
import {disentangledEncoder} from './disentangledEncoder';

/**
 * The first DeBERTa: one layer for queries, keys and values, head by head, with separate biases. (He et al., arXiv
 * 2006.03654.)
 */
export const deberta = disentangledEncoder({
  classes: classesOf('Deberta', ENCODER_ENDS.slice(0, -1)),
  uncomputed: /^encoder\.rel_embeddings\./,
  defaults: {
    vocab_size: 50_265,
    hidden_size: 768,
    num_hidden_layers: 12,
    num_attention_heads: 12,
    intermediate_size: 3072,
  },
  projections: {
    ofStates: (net, self, {width, heads}, input) => {
      const byHead = net.dense(nameOf(self, 'in_proj'), [width, 3 * width], input, {bias: false});
      const all = net.byParts(nameOf(self, 'parts'), {heads, parts: 3, size: width / heads}, byHead);
      return [0, 1, 2].map(index => {
        const letter = 'qkv'[index] ?? '';
        const name = nameOf(self, letter);
        const bias = letter !== 'k';
        if (bias) {
          net.expect(name, '', [width], 'bias', {fileName: `${self.replaceAll('/', '.')}.${letter}_bias`});
        }
        return net.apply(name, [all], () => new WidthPart({index, of: 3, bias, name}));
      }) as [NetTensor, NetTensor, NetTensor];
    },
    ofRows: () => ({keys: {name: 'pos_proj', bias: false}, queries: {name: 'pos_q_proj'}}),
  },
  afterFirst: (_, config) => {
    config.expect('talking_head', false);
    return undefined;
  },
});
