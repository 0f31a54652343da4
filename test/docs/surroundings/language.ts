import {fileOf} from '../../extensions/language/ggufFiles';

export const url = 'https://example.com/model.gguf';

export function files() {
  return Promise.resolve({[url]: fileOf('llama')});
}
