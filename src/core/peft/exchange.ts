import type * as tf from '@tensorflow/tfjs';
import {asLoRA} from '../adapter/asLoRA';
import {withAdapterOf} from '../model/saveMerged';
import {checkOptions, LoRAError, show} from '../../platform/errors';
import {floatTypeOf} from '../storage/safetensors';
import {checkCallOptions, throwIfAborted} from '../../platform/signals';
import {checkModel} from '../../platform/tfjs/checkModel';
import type {ExportedPEFT, ExportPEFTOptions} from './exportPeft';

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
export async function exportPEFT(model: tf.LayersModel, options: ExportPEFTOptions = {}): Promise<ExportedPEFT> {
  const optionNames = {adapter: true, keyMap: true, baseModel: true, dtype: true, allowNonFinite: true} as const;
  checkOptions(options, {...optionNames, signal: true, onProgress: true});
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
