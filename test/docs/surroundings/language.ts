import {resolve} from 'node:path';
import {fileOf} from '../../extensions/language/ggufFiles';

/** A file on this machine, which is read where it is. */
export const path = resolve('test/fixtures/gguf/llama.gguf');
export const url = 'https://example.com/model.gguf';

export function files() {
  return Promise.resolve({[url]: fileOf('llama')});
}
