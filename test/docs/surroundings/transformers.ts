import {fixture} from '../../extensions/transformers/fixtures';

export const url = 'https://example.com/bert';
export const decoderUrl = 'https://example.com/llama';
export const visionUrl = 'https://example.com/vit';
export const naflexUrl = 'https://example.com/siglip2';

const WORDS = ['?', 'yes', 'no', 'a', 'the', 'cat', 'dog', 'sat', 'slept', 'on', 'in', 'mat', 'sun', '<end>'];

/** Of a tokenizer that knows a few words. */
export const tokenizerJson = {
  version: '1.0',
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: {type: 'WhitespaceSplit'},
  post_processor: null,
  decoder: null,
  model: {type: 'WordLevel', unk_token: '?', vocab: Object.fromEntries(WORDS.map((word, i) => [word, i]))},
};
export const tokenizerConfig = {tokenizer_class: 'PreTrainedTokenizer', unk_token: '?'};

export function files() {
  const filesOf = (at: string, name: string) => {
    const {config, weights} = fixture(name);
    return {
      [`${at}/config.json`]: config,
      [`${at}/model.safetensors`]: weights,
      [`${at}/tokenizer.json`]: JSON.stringify(tokenizerJson),
      [`${at}/tokenizer_config.json`]: JSON.stringify(tokenizerConfig),
    };
  };
  const preprocessor = {image_processor_type: 'Siglip2ImageProcessor', patch_size: 3};
  return Promise.resolve({
    ...filesOf(url, 'bert'),
    ...filesOf(decoderUrl, 'llama'),
    ...filesOf(visionUrl, 'vit'),
    ...filesOf(naflexUrl, 'siglip2Classes'),
    [`${naflexUrl}/preprocessor_config.json`]: JSON.stringify(preprocessor),
  });
}
