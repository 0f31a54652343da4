import type {ModelInputs, Purpose} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import type {Net, NetTensor} from '../net/net';
import {pooledStates} from './pooling';

/** Adds the head after the last normalization of a decoder. */
export function decoderHead(
  net: Net,
  config: HubConfig,
  {states, ids, mask}: Pick<ModelInputs, 'ids' | 'mask'> & {states: NetTensor},
  {
    head,
    pooling,
    labels,
    isNew,
    width,
    vocabulary,
    tokenEmbedding,
    isTied,
    tokenHead,
    bias = false,
  }: Purpose & {
    width: number;
    vocabulary: number;
    tokenEmbedding: string;
    isTied: boolean;
    tokenHead: string;
    /** Whether the language modelling head has a bias. Default: false. */
    bias?: boolean;
  },
): NetTensor {
  // transformers would read these parts of a larger model's config.
  for (const section of ['text_config', 'text_encoder', 'decoder', 'generator']) {
    config.expect(section, null);
  }
  const isOneTable = config.flag('tie_word_embeddings', isTied);
  const deviation = config.number('initializer_range', 0.02, 1);
  if (head === 'tokens') {
    return isOneTable
      ? net.tied('lm_head', tokenEmbedding, [width, vocabulary], states, {bias})
      : net.dense('lm_head', [width, vocabulary], states, {bias});
  }
  const start = isNew ? {fresh: deviation} : {};
  if (head === 'tokenClasses') {
    return net.dense(tokenHead, [width, labels], states, start);
  }
  if (head === 'spans') {
    return net.dense('qa_outputs', [width, labels], states, start);
  }
  if (head === 'classes') {
    return net.dense('score', [width, labels], lastState(net, config, {states, ids, mask}), {bias: false, ...start});
  }
  return pooledStates(net, config, pooling, [states, mask], 'A decoder has no pooler.');
}

/**
 * The state of the last token other than padding, even if the mask shows the padding token, because a text may end with
 * it. Without a padding token in the config, transformers only takes one text at a time; here only the mask counts.
 */
function lastState(
  net: Net,
  config: HubConfig,
  {states, ids, mask}: Pick<ModelInputs, 'ids' | 'mask'> & {states: NetTensor},
): NetTensor {
  return (config.get('pad_token_id') ?? null) === null
    ? net.pool('last', 'last', [states, mask])
    : net.pool('last', 'last', [states, mask, ids], {padding: config.index('pad_token_id', {below: 'vocab_size'})});
}
