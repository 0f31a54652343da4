import type * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../adapter/adapter';
import {asLoRAError, checkOptions} from '../../platform/errors';
import {abortError, type CallOptions, throwIfAborted, unlessAborted} from '../../platform/signals';
import {checkLimits, type LoadOptions} from '../storage/limits';
import {checkModel} from '../../platform/tfjs/checkModel';
import type {KeyMap} from './modules';
import type {AdapterSource} from './readAdapter';

/** How an adapter is loaded. */
export interface LoadAdapterOptions extends LoadOptions, CallOptions {
  /**
   * The model that the adapter belongs to. A PEFT adapter needs it, because it names PyTorch modules. For other
   * adapters, a warning says if it was trained on another base.
   */
  model?: tf.LayersModel;
  /**
   * For a PEFT adapter: the layer of each module. Default: equal paths, then the last part of the path, if unambiguous.
   */
  keyMap?: KeyMap;
}

/**
 * Loads an adapter in any supported format: from `saveAdapter` or `toSafetensors`, or a PEFT adapter, which needs the
 * model that it belongs to.
 *
 *     const emoji = await loadAdapter('https://example.com/emoji.safetensors');
 *     const picked = await loadAdapter(input.files);
 *     const fromPython = await loadAdapter('out/peft-adapter', {model, keyMap: {'encoder.*.fc': 'dense_*'}});
 *
 * From PEFT, it supports LoRA and DoRA of Linear, Conv1d, Conv2d, Conv3d and Embedding, and IA³, VeRA, LoHa and LoKr
 * where PEFT has them; rows of single tokens, with `tfjs-lora/transformers` imported; F32, F16 and BF16; `use_rslora`,
 * `rank_pattern`, `alpha_pattern`, `fan_in_fan_out`, `modules_to_save`, `bias`, `lora_bias` and
 * `trainable_token_indices`. Reduces a rank beyond what a layer can hold without loss. Refuses every other setting that
 * changes what the adapter computes. The layers of a new head, if the model has one, must be in `modules_to_save`.
 *
 * @param source a URL, in Node also a path; a handler of `tf.io`; a `Blob`, a `Response`, or bytes, of a safetensors
 *   file; the files that a user picked. For a PEFT adapter: its folder, one of its files, or `{config, weights}`, each
 *     as bytes, a `Blob`, a `Response`, or a promise of these. The URL of a folder whose name looks like that of a file
 *     ends in a slash. Promises of sources, such as `fetch(url)`, are awaited.
 * @param options the model that a PEFT adapter belongs to, which module is which layer, limits, and progress.
 * @returns the adapter. The caller disposes of it, unless `applyLoRA(base, adapter)` takes it over.
 * @throws LoRAError of code `ERR_NOT_FOUND` if nothing is there, `ERR_IO` if it cannot be read, `ERR_DAMAGED` if it is
 *     no adapter or a damaged one, `ERR_TOO_LARGE` if it has more bytes than are allowed, `ERR_UNSUPPORTED` if
 *     something is not supported, `ERR_MISFIT` if modules and layers do not fit each other, with a line for each,
 *     `ERR_ABORTED` if the signal is aborted. The model is not changed in any case.
 */
export async function loadAdapter(
  source: AdapterSource | PromiseLike<AdapterSource>,
  options: LoadAdapterOptions = {},
): Promise<Adapter> {
  checkOptions(
    options,
    {model: true, keyMap: true, maxBytes: true, signal: true, onProgress: true},
    "loadAdapter('adapter.safetensors', {model})",
  );
  const {model, keyMap, ...limits} = options;
  checkLimits(limits);
  if (model !== undefined) {
    checkModel(model);
  }
  throwIfAborted(limits.signal);
  try {
    const [resolved, {readAdapter}] = await Promise.all([
      unlessAborted(Promise.resolve(source), limits.signal),
      import('./readAdapter').catch((error: unknown) => {
        throw asLoRAError(error, 'The code that reads adapters could not be loaded', 'ERR_IO');
      }),
    ]);
    return await readAdapter(resolved, model, keyMap, limits);
  } catch (error) {
    throw limits.signal?.aborted === true ? abortError(limits.signal) : error;
  }
}
