import type {Purpose} from './architecture';
import type {HubConfig} from './hubConfig';
import type {Net, Value} from './net';

/** What follows the last normalization of a decoder. */
export function decoderHead(
  net: Net,
  config: HubConfig,
  states: Value,
  mask: Value,
  {
    head,
    pooling,
    labels,
    isNew,
    width,
    vocabulary,
    words,
    isTied,
  }: Purpose & {width: number; vocabulary: number; words: string; isTied: boolean},
): Value {
  if (head === 'tokens') {
    // A layers model has no way to say that two layers share a weight: a head that shares the table of words has a copy.
    const tied = config.flag('tie_word_embeddings', isTied) ? {from: `${words.replaceAll('/', '.')}.weight`} : {};
    return net.dense('lm_head', [width, vocabulary], states, {bias: false, ...tied});
  }
  if (head === 'classes') {
    const start = isNew ? {fresh: config.number('initializer_range', 0.02)} : {};
    return net.dense('score', [width, labels], net.pool('last', 'last', [states, mask]), {bias: false, ...start});
  }
  if (pooling === 'pooler') {
    config.fault("A decoder has no pooler. Choose another pooling: 'mean', 'first' or 'last'.");
  }
  return pooling === 'none' || pooling === 'pooler' ? states : net.pool('pooling', pooling, [states, mask]);
}
