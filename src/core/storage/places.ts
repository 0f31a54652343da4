import * as tf from '@tensorflow/tfjs';
import {asLoRAError, kindOf, LoRAError, unsupportedError} from '../../platform/errors';
import {pathOfHandler, schemeOfHandler} from '../../platform/tfjs/handlers';
import {downloadHandler, indexedDBHandler, localStorageHandler} from './browserHandlers';

/**
 * Handlers of this library, by scheme. They use the places and layouts of tfjs's handlers, which can lose an adapter or
 * save it where it is not found again. In Node there is one for `file:` too.
 */
export const ownHandlers = new Map<string, (path: string) => tf.io.IOHandler>([
  ['indexeddb:', indexedDBHandler],
  ['localstorage:', localStorageHandler],
]);

/** Whether the name of a place says that a safetensors file is there. */
export function isSafetensors(handlerOrUrl: tf.io.IOHandler | string): boolean {
  const isString = typeof handlerOrUrl === 'string';
  const place = isString ? handlerOrUrl : (pathOfHandler(handlerOrUrl) ?? '');
  const isWeb = isString ? isFetched(place) : /^https?:/i.test(place);
  // In the name of a file `?` and `#` are ordinary characters.
  return /\.safetensors$/i.test(isWeb ? place.replace(/[?#].*$/s, '') : place);
}

/** Whether a URL is one of the web's or the hub's, or in a browser a path relative to the page. */
export function isFetched(url: string): boolean {
  const scheme = schemeOf(url);
  return scheme === undefined ? tf.env().getBool('IS_BROWSER') : /^(?:https?|hf):$/.test(scheme);
}

/** The scheme of a URL, such as `file:`. */
function schemeOf(url: string): string | undefined {
  return /^([a-z][a-z\d+.-]*:)\/\//i.exec(url)?.[1]?.toLowerCase();
}

/** A place as handlers are found for it: the address of a `URL`. */
export function placeOf<T>(place: T): Exclude<T, URL> | string {
  return place instanceof URL ? place.href : (place as Exclude<T, URL>);
}

/** @throws LoRAError if it is neither a URL nor a handler. */
export function checkPlace(place: unknown): void {
  if (typeof place !== 'string' && (typeof place !== 'object' || place === null)) {
    throw new LoRAError(`The place to save to must be a URL or a tf.io.IOHandler, got ${kindOf(place)}.`);
  }
}

type Saving = tf.io.IOHandler & Required<Pick<tf.io.IOHandler, 'save'>>;
type Loading = tf.io.IOHandler & Required<Pick<tf.io.IOHandler, 'load'>>;

/** @throws LoRAError as `findHandler`, or if the handler cannot save. */
export function saverOf(handlerOrUrl: tf.io.IOHandler | string): Saving {
  const handler = findHandler(handlerOrUrl, 'save');
  if (handler.save === undefined) {
    throw new LoRAError('The handler cannot save: it has no save function.');
  }
  return handler as Saving;
}

/** @throws LoRAError as `findHandler`, or if the handler cannot load. */
export function loaderOf(handlerOrUrl: tf.io.IOHandler | string, options: tf.io.LoadOptions): Loading {
  const handler = findHandler(handlerOrUrl, 'load', options);
  if (handler.load === undefined) {
    throw new LoRAError('The handler cannot load: it has no load function.');
  }
  return handler as Loading;
}

/**
 * The handler of a place: one of this library where it has one, also in the place of a handler of tfjs, else what was
 * given or what tfjs finds.
 *
 * @throws LoRAError if no handler takes the URL, or more than one does.
 */
export function findHandler(
  handlerOrUrl: tf.io.IOHandler | string,
  action: 'save' | 'load',
  options: tf.io.LoadOptions = {},
): tf.io.IOHandler {
  if (typeof handlerOrUrl !== 'string') {
    return ownFor(handlerOrUrl, pathOfHandler(handlerOrUrl)) ?? handlerOrUrl;
  }
  const url = handlerOrUrl;
  const registered = theirHandler(url, action, options);
  const scheme = schemeOf(url) ?? '';
  // A handler that someone else has registered is there for a reason.
  const isFile = scheme === 'file:' || (scheme === '' && !isFetched(url));
  const libraryHandler =
    registered === undefined
      ? isFile && ownHandlers.get('file:')?.(url)
      : ownFor(registered, isFile ? url : pathOfHandler(registered));
  const handler = libraryHandler || registered;
  if (handler !== undefined) {
    return handler;
  }
  if (action === 'load' && isFetched(url)) {
    return tf.io.http(url, options);
  }
  throw unsupportedError(
    `Nothing here can ${action} "${url}". In a browser there are indexeddb://, localstorage://, downloads:// ` +
      'and http(s)://; in Node paths and file://; anywhere, your own tf.io.IOHandler.',
  );
}

function theirHandler(url: string, action: 'save' | 'load', options: tf.io.LoadOptions): tf.io.IOHandler | undefined {
  let handlers: tf.io.IOHandler[];
  try {
    handlers = action === 'save' ? tf.io.getSaveHandlers(url) : tf.io.getLoadHandlers(url, options);
  } catch (error) {
    throw asLoRAError(error, `Cannot ${action} "${url}"`, 'ERR_UNSUPPORTED');
  }
  if (handlers.length > 1) {
    throw unsupportedError(`${handlers.length} handlers of tfjs accept "${url}". Pass one of them instead.`);
  }
  return handlers[0];
}

/** The handler of this library for where one of tfjs saves. */
function ownFor(handler: tf.io.IOHandler, path: string | undefined): tf.io.IOHandler | undefined {
  const scheme = schemeOfHandler(handler);
  if (scheme === undefined || path === undefined) {
    return undefined;
  }
  return scheme === 'downloads:' && isSafetensors(handler) ? downloadHandler(path) : ownHandlers.get(scheme)?.(path);
}
