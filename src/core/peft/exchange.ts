import type * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../adapter/adapter';
import {asLoRA} from '../adapter/asLoRA';
import {withAdapterOf} from '../model/saveAdapter';
import {checkOptions, LoRAError, show} from '../../platform/errors';
import {floatTypeOf} from '../storage/safetensors';
import {checkCallOptions, throwIfAborted} from '../../platform/signals';
import {checkModel} from '../rewire/walk';
import {checkLimits} from '../storage/limits';
import type {ExportedPEFT, ExportOptions} from './exportPeft';
import type {ImportOptions} from './importPeft';
import type {PEFTSource} from './readPeft';

// The code for PEFT's files is loaded when one is read or written: most pages never do.

/**
 * Imports an adapter that PEFT saved, for a tfjs model with the same base weights. Apply it with
 * `applyLoRA(model, adapter)` as any other.
 *
 *     const adapter = await importPEFT('out/peft-adapter', base, {keyMap: {'encoder.*.fc': 'dense_*'}});
 *
 * Supports LoRA and DoRA of Linear, Conv1d, Conv2d, Conv3d and Embedding, and IA³, VeRA, LoHa and LoKr where PEFT has
 * them; rows of single tokens, with `tfjs-lora/transformers` imported; F32, F16 and BF16; `use_rslora`, `rank_pattern`,
 * `alpha_pattern`, `fan_in_fan_out`, `modules_to_save`, `bias`, `lora_bias` and `trainable_token_indices`. Reduces a
 * rank beyond what a layer can hold without loss. Refuses every other setting that changes what the adapter computes.
 *
 * @param source the URL of the folder, in Node also its path; `{config, weights}`, each as bytes, a `Blob`, a
 *     `Response`, or a promise of these; or the files that a user picked.
 * @param model plain or adapted. The layers of a new head, if it has one, must be in `modules_to_save`.
 * @param options which module is which layer, and progress.
 * @returns the adapter. The caller disposes of it, unless `applyLoRA(base, adapter)` takes it over.
 * @throws LoRAError of code `ERR_NOT_FOUND` or `ERR_IO` if a file cannot be read, `ERR_DAMAGED` if it is damaged,
 *   `ERR_UNSUPPORTED` if something is not supported, `ERR_MISFIT` if modules and layers do not fit each other, with a
 *     line for each, `ERR_ABORTED` if the signal is aborted. The model is not changed in any case.
 */
export async function importPEFT(
  source: PEFTSource | PromiseLike<PEFTSource>,
  model: tf.LayersModel,
  options: ImportOptions = {},
): Promise<Adapter> {
  checkOptions(options, {keyMap: true, maxBytes: true, signal: true, onProgress: true});
  const {keyMap: _, ...limits} = options;
  checkLimits(limits);
  checkModel(model);
  throwIfAborted(limits.signal);
  const {readPEFTFor} = await import('./importPeft');
  return readPEFTFor(source, model, options);
}

/**
 * Exports the adapter of a model, or another one for it, as PEFT stores it: the contents of `adapter_config.json` and
 * `adapter_model.safetensors`, for a PyTorch model with the same base weights. `PeftModel.from_pretrained(model,
 * folder)` loads them.
 *
 *     const {config, weights} = await exportPEFT(model, {baseModel: 'distilbert/distilbert-base-uncased'});
 *
 * @param model the adapted model; with `{adapter}` also the plain base, with the adapter's new head, if it has one.
 * @param options another adapter, names of modules, and the type of the weights.
 * @returns a promise, because some backends, such as WebGPU, return values only as a promise.
 * @throws LoRAError of code `ERR_NOT_ADAPTED` if the model is not adapted and no adapter is given, `ERR_MISFIT` if the
 *     adapter does not fit the model, `ERR_UNSUPPORTED` if PEFT has no such updates, with a line for each,
 *     `ERR_NUMERIC` if values are not finite, `ERR_ABORTED` if the signal is aborted.
 */
export async function exportPEFT(model: tf.LayersModel, options: ExportOptions = {}): Promise<ExportedPEFT> {
  const known = {adapter: true, keyMap: true, baseModel: true, dtype: true, allowNonFinite: true} as const;
  checkOptions(options, {...known, signal: true, onProgress: true});
  const {adapter, baseModel, dtype = 'float32'} = options;
  checkCallOptions(options);
  if (baseModel !== undefined && (typeof baseModel !== 'string' || baseModel === '')) {
    throw new LoRAError(`baseModel must be the name or path of a model, got ${show(baseModel)}.`);
  }
  floatTypeOf(dtype);
  checkModel(model);
  throwIfAborted(options.signal);
  return withAdapterOf(adapter === undefined ? model : adapter, async take => {
    const taken = take();
    const {writePEFT} = await import('./exportPeft');
    return writePEFT(taken, model, options, asLoRA);
  });
}
