import type * as tf from '@tensorflow/tfjs';

/** Private fields of the handlers of tfjs and tfjs-node. */
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

/** The target of a tfjs handler's save, without the scheme, if it is a single one. */
export function pathOfHandler(handler: tf.io.IOHandler): string | undefined {
  const {modelPath, path, modelJsonFileName} = handler as HandlerFields;
  const name = typeof modelJsonFileName === 'string' ? modelJsonFileName.replace(/\.json$/, '') : undefined;
  return [modelPath, path, name].find(value => typeof value === 'string');
}
