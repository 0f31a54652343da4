import {fixture} from '../../transformers/fixtures';

export const url = 'https://example.com/bert';

/** Of a tokenizer that knows two words. */
export const tokenizerJson = {
  version: '1.0',
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: {type: 'WhitespaceSplit'},
  post_processor: null,
  decoder: null,
  model: {type: 'WordLevel', unk_token: '?', vocab: {'?': 0, yes: 1, no: 2}},
};
export const tokenizerConfig = {tokenizer_class: 'PreTrainedTokenizer', unk_token: '?'};

export function files() {
  const {config, weights} = fixture('bert');
  return Promise.resolve({[`${url}/config.json`]: config, [`${url}/model.safetensors`]: weights});
}
