import {nameOf} from '../net/architecture';
import type {ActivationName, Net, NetTensor} from '../net/net';

/** The modules of a block behind its attention, by their names in it. */
export interface BehindAttention {
  attended: string;
  attendedNorm: string;
  wide: string;
  activation: string;
  narrow: string;
  norm: string;
}

/** Those of BERT. */
export const BERT_BEHIND_ATTENTION: BehindAttention = {
  attended: 'attention/output/dense',
  attendedNorm: 'attention/output/LayerNorm',
  wide: 'intermediate/dense',
  activation: 'intermediate/intermediate_act_fn',
  narrow: 'output/dense',
  norm: 'output/LayerNorm',
};

/**
 * What a block computes behind its attention: two sums, each normalized, the second over two layers at each position.
 */
export function behindAttention(
  net: Net,
  layer: string,
  modules: BehindAttention,
  {width, inner, epsilon, activation}: {width: number; inner: number; epsilon: number; activation: ActivationName},
  [attended, input]: [attended: NetTensor, input: NetTensor],
): NetTensor {
  const projected = net.dense(nameOf(layer, modules.attended), [width, width], attended);
  const middle = net.layerNorm(nameOf(layer, modules.attendedNorm), width, epsilon, [projected, input]);
  const wide = net.dense(nameOf(layer, modules.wide), [width, inner], middle);
  const active = net.activation(nameOf(layer, modules.activation), activation, wide);
  const narrow = net.dense(nameOf(layer, modules.narrow), [inner, width], active);
  return net.layerNorm(nameOf(layer, modules.norm), width, epsilon, [narrow, middle]);
}
