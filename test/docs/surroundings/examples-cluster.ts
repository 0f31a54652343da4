import {Tokenizer} from '@huggingface/tokenizers';
import {fixture} from '../../extensions/transformers/fixtures';
import {tokenizerConfig, tokenizerJson, url} from './transformers';

export {url};
export const tokenizer = new Tokenizer(tokenizerJson, tokenizerConfig);
export const texts = ['the cat sat', 'the dog slept on a mat'];
export const labels = [0, 1];

const {config, weights, adapter} = fixture('bertClasses');

/** A user has chosen both files of an adapter. */
export const input = {
  files: [
    new File([adapter.config], 'adapter_config.json'),
    new File([adapter.weights as BlobPart], 'adapter_model.safetensors'),
  ] as unknown as FileList,
};

/** Names of the files that the page gave to its user. */
const given: string[] = [];
export const document = {
  createElement: (tag: string) => ({
    tag,
    download: '',
    href: '',
    click() {
      given.push(this.download);
    },
  }),
};

export function files() {
  return Promise.resolve({[`${url}/config.json`]: config, [`${url}/model.safetensors`]: weights});
}

export function afterwards(): Promise<void> {
  expect(given).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
  return Promise.resolve();
}
