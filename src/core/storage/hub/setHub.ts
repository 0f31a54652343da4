import {checkOptions, faultsOf, kindOf, LoRAError, show, throwFaults} from '../../../platform/errors';
import {
  changeHubSettings,
  DEFAULTS,
  type HubCache,
  type HubOptions,
  type HubSettings,
  suppliedHubStore,
  urlOf,
} from './settings';

/**
 * Sets how `hf://org/name[@revision][/file]` is read, which every loader takes. An option that is left out gets its
 * default.
 *
 * The token is sent to the endpoint alone, not to the hosts that it redirects to. A page that passes a token shows it
 * to everyone who opens the page.
 *
 * @param options the endpoint, a token, and where files are kept.
 * @returns the cache, to list its files and to remove them.
 * @throws LoRAError `ERR_OPTION` if an option is not valid. `list` and `clear` throw what the storage throws.
 * @example
 *     const cache = setHub({token: process.env.HF_TOKEN});
 *     const {model, tokenizer} = await loadTransformer('hf://sentence-transformers/all-MiniLM-L6-v2');
 *     console.log(await cache.list());
 * @experimental
 */
export function setHub(options: HubOptions = {}): HubCache {
  checkOptions(options, {endpoint: true, token: true, cache: true}, "setHub({token: 'hf_…'})");
  const {endpoint = DEFAULTS.endpoint, token, cache = {}} = options;
  const url = urlOf(endpoint);
  const {folder, maxBytes = 1} = cache || {};
  throwFaults([
    ...(/^https?:$/.test(url?.protocol ?? '') ? [] : [`endpoint must be an http(s) URL, got ${show(endpoint)}.`]),
    // The value of a header; the token itself stays out of messages.
    ...(token === undefined || (typeof token === 'string' && /^[!-~]+$/.test(token))
      ? []
      : [`token must be a string without spaces, such as 'hf_…', got ${kindOf(token)}.`]),
    ...(cache === false ? [] : faultsOf(() => checkOptions(cache, {folder: true, maxBytes: true}))),
    ...(folder === undefined || (typeof folder === 'string' && folder !== '')
      ? []
      : [`cache.folder must be a path, got ${show(folder)}.`]),
    ...(typeof maxBytes === 'number' && maxBytes > 0
      ? []
      : [`cache.maxBytes must be a number of bytes, got ${show(maxBytes)}.`]),
  ]);
  if (folder !== undefined && suppliedHubStore() === undefined) {
    throw new LoRAError('cache.folder is for Node. Pages keep files with the Cache API.');
  }
  const chosen: HubSettings = {endpoint: String(url).replace(/[?#].*$|\/+$/gs, ''), token, cache};
  changeHubSettings(chosen);
  const opened = async () => (await import('./cache')).cacheOf(chosen);
  return {
    list: async () => (await opened())?.list() ?? [],
    clear: async () => (await opened())?.clear(),
  };
}
