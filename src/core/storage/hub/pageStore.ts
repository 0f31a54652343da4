import type {HubStore} from './settings';

const NAME = 'tfjs-lora-hub';
/** Keys of the Cache API are addresses. No request is sent to these. */
const ADDRESS = 'https://tfjs-lora.invalid/';

/** Keeps files with the Cache API, if there is one: pages that are not served by https have none. */
export function pageStore(): HubStore | undefined {
  if (typeof caches === 'undefined') {
    return undefined;
  }
  const opened = () => caches.open(NAME);
  return {
    read: async key => {
      const response = await (await opened()).match(ADDRESS + key);
      return response && new Uint8Array(await response.arrayBuffer());
    },
    write: async (key, bytes) => {
      const headers = {'x-key': key, 'content-length': String(bytes.length)};
      await (await opened()).put(ADDRESS + key, new Response(bytes, {headers}));
    },
    remove: async key => {
      await (await opened()).delete(ADDRESS + key);
    },
    entries: async () =>
      (await (await opened()).matchAll()).map(({headers}) => ({
        key: headers.get('x-key') ?? '',
        bytes: Number(headers.get('content-length')),
      })),
  };
}
