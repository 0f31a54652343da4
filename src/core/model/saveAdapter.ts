import * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../adapter/adapter';
import {type SaveOptions, writeAdapter} from '../storage/storage';
import {getAdapter} from './currentAdapter';

/**
 * Saves the adapter of a model, or an adapter: its config and its tensors, and nothing of the base. In files, in
 * IndexedDB and in local storage an earlier one is replaced by all of the new one or stays as it was.
 *
 *     await saveAdapter(model, 'file://out/emoji.safetensors');   // Node: one file, which needs no other beside it
 *     await saveAdapter(model, 'downloads://emoji.safetensors');  // a page: the same file
 *     await saveAdapter(model, 'indexeddb://emoji');
 *
 * @param handlerOrUrl what `model.save` takes: `indexeddb://…`, `localstorage://…`, `downloads://…`, `http(s)://…`, any
 *     `tf.io.IOHandler`; in Node also `file://…`, with or without tfjs-node. A name that ends in `.safetensors` has
 *     that format.
 * @throws LoRAError if the model is not adapted, the adapter was disposed, its numbers are lost with a graphics card
 *     or not finite, nothing handles the URL, it cannot be saved there, or an option does not exist.
 */
export async function saveAdapter(
  source: tf.LayersModel | Adapter,
  handlerOrUrl: tf.io.IOHandler | string,
  options: SaveOptions = {},
): Promise<tf.io.SaveResult> {
  let own: Adapter | undefined;
  const take = () => (source instanceof tf.layers.Layer ? (own = getAdapter(source)) : source);
  try {
    return await writeAdapter(take, handlerOrUrl, options);
  } finally {
    own?.dispose();
  }
}
