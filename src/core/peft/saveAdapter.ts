import type * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../adapter/adapter';
import {kindOf, show, unsupportedError} from '../../platform/errors';
import {withAdapterOf} from '../model/saveMerged';
import {placeOf} from '../storage/places';
import {localFilesFor} from '../storage/localFiles';
import {type SaveOptions, writeAdapter} from '../storage/storage';
import type {ExportPEFTOptions} from './exportPeft';

/** How an adapter is saved as a folder of PEFT. */
export interface SavePEFTOptions extends Omit<ExportPEFTOptions, 'adapter'> {
  /** Writes the adapter as PEFT does. */
  format: 'peft';
  /** The model that the adapter belongs to, if an adapter is saved: PEFT stores it under the names of modules. */
  model?: tf.LayersModel;
  /** The text of `README.md`, such as `modelCard` writes it. Default: none; an earlier one stays. */
  readme?: string;
}

/** Writes a folder of PEFT. */
type SavePEFT = (
  source: tf.LayersModel | Adapter,
  folder: string,
  options: SavePEFTOptions,
) => Promise<tf.io.SaveResult>;

let savePEFT: SavePEFT | undefined;

/** Lets this library write folders of PEFT, which the entry point `node` supplies. */
export function supplySavePEFT(save: SavePEFT): void {
  savePEFT = save;
}

/**
 * Saves the adapter of a model, or an adapter: its config and its tensors, without the base. In files, IndexedDB and
 * local storage, a save replaces an earlier adapter completely or leaves it unchanged. The file also holds eight values
 * of each kernel, which identify the base when the adapter is applied.
 *
 *     await saveAdapter(model, 'emoji.safetensors');              // Node: one file
 *     await saveAdapter(model, 'downloads://emoji.safetensors');  // a page: the same file
 *     await saveAdapter(model, 'indexeddb://emoji');
 *     await saveAdapter(model, 'out/emoji', {format: 'peft'});    // Node: a folder for PEFT in Python
 *
 * @param source an adapted model, which stays as it is, or an adapter, which stays the caller's.
 * @param handlerOrUrl what `model.save` takes: `indexeddb://…`, `localstorage://…`, `downloads://…`, `http(s)://…`, any
 *     `tf.io.IOHandler`, or a `URL`; in Node also a path or `file://…`, with or without tfjs-node. A name that ends in
 *     `.safetensors` has that format. For PEFT, in Node alone, the path of a folder, which is made as needed.
 * @param options the format, the data type, and whether NaN and infinities are allowed, `signal` and
 *     `onProgress`, until the handler saves, which does not stop; for PEFT also what `exportPEFT`
 *     takes.
 * @returns what the handler's `save` returns.
 * @throws LoRAError of code `ERR_NOT_ADAPTED` if the model is not adapted, `ERR_DISPOSED` if the adapter was disposed,
 *     `ERR_NUMERIC` if a value is not finite, `ERR_IO` if it cannot be saved there, `ERR_OPTION` if nothing handles the
 *     URL or an option is not valid; `ERR_UNSUPPORTED` if PEFT has no such updates, or for a folder of PEFT in a page,
 *     where `exportPEFT` returns its files; `ERR_ABORTED` if the signal is aborted.
 */
export async function saveAdapter(
  source: tf.LayersModel | Adapter,
  handlerOrUrl: tf.io.IOHandler | URL | string,
  options: SaveOptions | SavePEFTOptions = {},
): Promise<tf.io.SaveResult> {
  const place = placeOf(handlerOrUrl);
  if (!isForPEFT(options)) {
    return withAdapterOf(source, take => writeAdapter(take, place, options));
  }
  const isPath = typeof place === 'string' && localFilesFor(place) !== undefined;
  if (!isPath || savePEFT === undefined) {
    throw unsupportedError(
      `The format "peft" is a folder, which needs a path in Node, got ${typeof place === 'string' ? show(place) : kindOf(place)}. ` +
        'Elsewhere exportPEFT(model) returns the contents of its files.',
    );
  }
  return savePEFT(source, place, options);
}

function isForPEFT(options: SaveOptions | SavePEFTOptions | null): options is SavePEFTOptions {
  return options?.format === 'peft';
}
