import {ioError, unsupportedError} from '../../../platform/errors';
import {type HubSettings, urlOf} from './settings';

/** The response to a request, and the headers that the hub itself sent: a redirect has some that its target lacks. */
export interface Answer {
  readonly response: Response;
  readonly hubHeaders: Headers;
}

const MAX_REDIRECTS = 8;

/**
 * Sends a request to the hub, and follows redirects. The token is sent to the hub alone.
 *
 * @throws LoRAError if the redirects cannot be followed; what `fetch` throws if there is no response.
 */
export async function sendToHub(
  address: string,
  {endpoint, token}: HubSettings,
  init: {method?: string; headers?: Record<string, string>; signal?: AbortSignal},
): Promise<Answer> {
  const {origin} = new URL(endpoint);
  const hubHeaders = new Headers();
  let url = new URL(address);
  let isHub = true; // what another host redirects to is not trusted either
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
    isHub &&= url.origin === origin;
    const headers = {...init.headers, ...(isHub && token !== undefined && {authorization: `Bearer ${token}`})};
    const request: RequestInit = {...init, headers, redirect: 'manual', credentials: 'omit', cache: 'no-store'};
    const response = await fetch(url, request);
    if (response.type === 'opaqueredirect') {
      // Pages cannot see where to.
      if (token !== undefined && !dropsTokens()) {
        throw unsupportedError(
          'This browser would pass the token on to another host. Update the browser, or load the files without a token.',
        );
      }
      return {response: await fetch(url, {...request, redirect: 'follow'}), hubHeaders};
    }
    if (isHub) {
      response.headers.forEach((value, name) => hubHeaders.has(name) || hubHeaders.set(name, value));
    }
    if (![301, 302, 303, 307, 308].includes(response.status)) {
      return {response, hubHeaders};
    }
    void response.body?.cancel().catch(() => undefined);
    const location = response.headers.get('location') ?? '';
    const target = urlOf(location, url);
    if (location === '' || target === undefined || !['https:', url.protocol].includes(target.protocol)) {
      throw ioError(`The hub redirects ${url.href} to "${location.slice(0, 200)}", which is not followed.`);
    }
    url = target;
  }
  throw ioError(`The hub redirects ${address} more than ${MAX_REDIRECTS} times.`);
}

/**
 * Whether `fetch` removes `Authorization` where a redirect leads to another host, as the standard says since 2022.
 * Chromium does so from version 119 on, which also brought `Promise.withResolvers`; other browsers did it earlier than
 * that. A function of a polyfill is no sign of it.
 */
function dropsTokens(): boolean {
  const {withResolvers} = Promise as {withResolvers?: unknown};
  return (
    typeof withResolvers === 'function' && Function.prototype.toString.call(withResolvers).includes('[native code]')
  );
}
