import {nameOf, type Purpose} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {ActivationName, Net, NetTensor} from '../net/net';

/** The inputs of an encoder's head, in addition to the states of its body. */
interface HeadParts extends Purpose {
  width: number;
  /** The start of a new head. */
  deviation: number;
  /** The state that represents a text in choices. */
  pooled: () => NetTensor;
}

/** The heads that all encoders share: for each token, for a span, and for choices. */
export function encoderHead(
  net: Net,
  states: NetTensor,
  {head, labels, isNew, width, deviation, pooled}: HeadParts,
): NetTensor {
  const start = isNew ? {fresh: deviation} : {};
  switch (head) {
    case 'tokenClasses':
      return net.dense('classifier', [width, labels], states, start);
    case 'spans':
      return net.dense('qa_outputs', [width, labels], states, start);
    case 'choices':
      return net.dense('classifier', [width, labels], pooled(), start);
    default:
      return states;
  }
}

export interface MaskedTokens {
  transform: string;
  norm: string;
  decoder: string;
  /** The file's name for the decoder's bias, if it is different. */
  bias?: string | undefined;
  activation: ActivationName;
  epsilon: number;
  width: number;
  /** The width of the token embedding. Default: `width`. */
  tableWidth?: number;
  vocabulary: number;
  /** The token embedding, which the decoder shares. */
  tokenEmbedding: string;
}

/**
 * Logits for masked tokens: a dense layer, its activation, a normalization, then the product with the token embedding.
 */
export function maskedTokens(
  net: Net,
  config: HubConfig,
  states: NetTensor,
  {
    transform,
    norm,
    decoder,
    bias,
    activation,
    epsilon,
    width,
    tableWidth = width,
    vocabulary,
    tokenEmbedding,
  }: MaskedTokens,
): NetTensor {
  const dense = net.dense(transform, [width, tableWidth], states);
  const active = net.activation(nameOf(transform, 'activation'), activation, dense);
  const normal = net.layerNorm(norm, tableWidth, epsilon, [active]);
  const sizes: [number, number] = [tableWidth, vocabulary];
  return config.flag('tie_word_embeddings', true)
    ? net.tied(decoder, tokenEmbedding, sizes, normal, {bias: true, biasOrElse: bias})
    : net.dense(decoder, sizes, normal, {biasOrElse: bias});
}
