import {classesOf, ENCODER_ENDS, nameOf} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {ActivationName, Net, NetTensor} from '../net/net';
import {type DebertaSizes, integer, shownOf} from './disentangled';
import {DEBERTA_ACTIVATIONS, disentangledEncoder} from './disentangledEncoder';
import {timeConvolution} from './soundConvolutions';

/**
 * DeBERTa-v2 and v3: distances share rows, and a convolution may be parallel to the first block. (He et al., arXiv
 * 2006.03654 and 2111.09543.)
 */
export const debertaV2 = disentangledEncoder({
  classes: classesOf('DebertaV2', ENCODER_ENDS),
  uncomputed: /^encoder\.(LayerNorm|rel_embeddings)\./,
  defaults: {
    vocab_size: 128_100,
    hidden_size: 1536,
    num_hidden_layers: 24,
    num_attention_heads: 24,
    intermediate_size: 6144,
  },
  projections: {
    ofStates: (net, self, {width}, input) =>
      (['query_proj', 'key_proj', 'value_proj'] as const).map(name =>
        net.dense(nameOf(self, name), [width, width], input),
      ) as [NetTensor, NetTensor, NetTensor],
    ofRows: shared => ({
      keys: {name: shared ? 'key_proj' : 'pos_key_proj'},
      queries: {name: shared ? 'query_proj' : 'pos_query_proj'},
    }),
  },
  afterFirst: (net, config, sizes) => {
    const convolution = convolutionOf(config);
    return convolution && ((name, inputs) => convolved(net, name, {...sizes, ...convolution}, inputs));
  },
});

interface Convolution {
  kernel: number;
  active: ActivationName;
}

/** The convolution parallel to the first block, if there is one. */
function convolutionOf(config: HubConfig): Convolution | undefined {
  const kernel = integer(config, 'conv_kernel_size', 0);
  if (kernel < 1) {
    return undefined;
  }
  if (kernel % 2 === 0) {
    config.fault(`conv_kernel_size must be odd, so that the length stays the same; got ${kernel}.`);
  }
  config.expect('conv_groups', 1);
  return {kernel, active: config.choice('conv_act', DEBERTA_ACTIVATIONS, 'tanh')};
}

/** Inputs are the input of the convolution, the states that it is added to, and the mask. */
function convolved(
  net: Net,
  name: string,
  {width, epsilon, kernel, active}: Pick<DebertaSizes, 'width' | 'epsilon'> & Convolution,
  [x, residual, mask]: [x: NetTensor, residual: NetTensor, mask: NetTensor],
): NetTensor {
  const conv = nameOf(name, 'conv');
  const settings = {channels: [width, width], size: kernel, padding: (kernel - 1) / 2} as const;
  const shown = shownOf(net, nameOf(conv, 'shown'), [timeConvolution(net, conv, settings, x), mask]);
  const activated = net.activation(nameOf(name, 'act'), active, shown);
  const sum = net.layerNorm(nameOf(name, 'LayerNorm'), width, epsilon, [residual, activated]);
  return shownOf(net, nameOf(name, 'shown'), [sum, mask]);
}
