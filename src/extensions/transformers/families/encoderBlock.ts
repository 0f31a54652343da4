import {nameOf} from '../net/architecture';
import type {ActivationName, Net, NetTensor} from '../net/net';

/** The names of the modules of a block after its attention. */
export interface BehindAttention {
  attended: string;
  attendedNorm: string;
  wide: string;
  activation: string;
  narrow: string;
  norm: string;
}

/** The names in BERT. */
export const BERT_BEHIND_ATTENTION: BehindAttention = {
  attended: 'attention/output/dense',
  attendedNorm: 'attention/output/LayerNorm',
  wide: 'intermediate/dense',
  activation: 'intermediate/intermediate_act_fn',
  narrow: 'output/dense',
  norm: 'output/LayerNorm',
};

/** The part of a block after its attention: a normalized residual sum, two dense layers, and another normalized sum. */
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
