// What the tests of hub addresses in a browser call.

import {bytesOf, fetched} from '../../../../src/core/storage/sources';
import * as lora from '../../../../src/index';

declare global {
  interface Window {
    hub: typeof lora.setHub;
    cachedFiles: () => Promise<string[]>;
    clearCache: () => Promise<void>;
    /** The size and the digest of a file, or what went wrong. */
    digestAt: (address: string) => Promise<string>;
    loadAdapter: typeof lora.loadAdapter;
  }
}

window.hub = lora.setHub;
window.cachedFiles = async () => (await lora.setHub().list()).map(({address}) => address);
window.clearCache = () => lora.setHub().clear();
window.loadAdapter = lora.loadAdapter;
window.digestAt = async address => {
  try {
    const bytes = await bytesOf(await fetched(address, {}), {maxBytes: 1e9});
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new Uint8Array(bytes)));
    return `${bytes.length} ${Array.from(digest, byte => byte.toString(16).padStart(2, '0')).join('')}`;
  } catch (error) {
    return String(error);
  }
};
