import type * as tf from '@tensorflow/tfjs';

/** What the handlers of tfjs and of tfjs-node keep to themselves. */
interface HandlerFields {
  /** Of IndexedDB and of local storage. */
  modelPath?: unknown;
  /** Of HTTP and of the file system. */
  path?: unknown;
  /** Of downloads. */
  modelJsonFileName?: unknown;
}

/** The scheme of a handler of tfjs or tfjs-node, such as `indexeddb:`; `undefined` for any other handler. */
export function schemeOfHandler(handler: tf.io.IOHandler): string | undefined {
  const {URL_SCHEME: scheme} = handler.constructor as {URL_SCHEME?: unknown};
  return typeof scheme === 'string' ? scheme.replace(/\/\/$/, '') : undefined;
}

/** Where a handler of tfjs saves, without the scheme, if it is one place. */
export function pathOfHandler(handler: tf.io.IOHandler): string | undefined {
  const {modelPath, path, modelJsonFileName} = handler as HandlerFields;
  const name = typeof modelJsonFileName === 'string' ? modelJsonFileName.replace(/\.json$/, '') : undefined;
  return [modelPath, path, name].find(value => typeof value === 'string');
}
