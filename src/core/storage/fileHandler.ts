import type * as tf from '@tensorflow/tfjs';
import {unsupportedError} from '../../platform/errors';
import {ownHandlers} from './places';

/**
 * Reads and writes models and adapters on disk in Node, without tfjs-node and in its file layout, so that the files of
 * one can be read by the other.
 *
 *     await saveAdapter(model, fileHandler('out/emoji.safetensors'));  // one file: prefer it for adapters
 *     await saveAdapter(model, fileHandler('out/emoji.json'));         // emoji.json and emoji.weights.bin
 *     await model.save(fileHandler('out/emoji'));                      // emoji/model.json and emoji/weights.bin
 *     const base = await tf.loadLayersModel(fileHandler('out/emoji'));
 *
 * A save replaces an earlier one completely or not at all, even if it fails, its process is killed, or several
 * processes save to one place. A digest binds JSON and weights: `load` returns those of one save, and refuses two that
 * do not belong together.
 *
 * @param path A folder, in which the files are `model.json` and `weights.bin`; a path that ends in `.json`, beside
 *     which the weights lie; or one that ends in `.safetensors`, of an adapter in one file. Folders are made as needed.
 *     A `file://` prefix is allowed: an absolute one is read as a URL (`%20` is a space), a relative one
 *     (`file://./out`) as tfjs-node reads it.
 * @returns a handler for `model.save`, `tf.loadLayersModel`, `saveAdapter`, and `loadAdapter`.
 * @throws LoRAError `ERR_OPTION` if the path is empty or not a file URL. `load` throws `ERR_NOT_FOUND` if a file is
 *     missing and `ERR_DAMAGED` if it is damaged; `save` throws `ERR_IO` if it cannot be written.
 *     `ERR_UNSUPPORTED` everywhere but in Node.
 * @example
 *     await saveAdapter(model, fileHandler('out/emoji.safetensors'));
 */
export function fileHandler(path: string): tf.io.IOHandler {
  const handlerOf = ownHandlers.get('file:');
  if (handlerOf === undefined) {
    throw unsupportedError(
      "fileHandler reads and writes files, which only Node has. On a page, use 'indexeddb://…', 'downloads://…' or a URL.",
    );
  }
  return handlerOf(path);
}
