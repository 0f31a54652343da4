import {checkOptions, LoRAError, show} from '../../../platform/errors';
import type {Adapter} from '../../../core/adapter/adapter';
import {checkLimits} from '../../../core/storage/limits';
import type {PEFTSource} from '../../../core/peft/readPeft';
import type {ONNXSource} from '../file/onnxSource';
import type {AdaptedONNX, AdaptONNXOptions} from './adapted';

/**
 * Puts a LoRA adapter beside the products of a published ONNX file, quantized or not: `y` becomes `y + (x·A)·B` where
 * the adapter has a module. It reads the graph only, and neither computes nor changes a weight, so that a file of any
 * size whose weights are external takes milliseconds.
 *
 * Modules are found by the names that exporters give nodes and matrices: those of optimum and transformers.js, of
 * onnxruntime-genai's model builder, of torch's exporter, and of this library. Where a file joins q, k and v, or gate
 * and up, the updates take their outputs.
 *
 * With `{mode: 'inputs'}` the file gets two inputs a module, `<module>.lora_A` `[in, rank]` and `<module>.lora_B`
 * `[rank, out]`, in the type in which the product computes. Zeros of rank 1 turn the adapter off. A file that this
 * function wrote takes further adapters: inputs that it has already stay as they are.
 *
 * @param file the ONNX file: bytes, a Blob, a Response or a URL; in Node a path too.
 * @param adapter an adapter, whose layers have the names of PyTorch's modules, or a PEFT adapter: its folder or files.
 * @param options where the values are, limits, and whether values may be NaN or infinite.
 * @returns the new file, and the adapter as inputs for it or as its second data file.
 * @throws LoRAError of code `ERR_MISFIT` if a module has no product, or one of another size: the message lists the
 *     products of the file; `ERR_UNSUPPORTED` if a part of the adapter is no product, such as DoRA or a module that is
 *     saved whole; `ERR_DAMAGED` if a file is damaged; `ERR_NUMERIC` if a value is not finite or too large for float16.
 * @example
 *     const {file, inputs} = await adaptONNX('onnx/model_q4.onnx', 'out/peft-adapter');
 *     const tensors = Object.values(inputs).map(({type, data, dims}) => new ort.Tensor(type, data, dims));
 * @experimental
 */
export async function adaptONNX(
  file: ONNXSource,
  adapter: Adapter | PEFTSource,
  options: AdaptONNXOptions = {},
): Promise<AdaptedONNX> {
  checkOptions(options, {
    ...{mode: true, dataFile: true, prefix: true, maxBytes: true, signal: true, onProgress: true},
    allowNonFinite: true,
  });
  const {mode = 'inputs', dataFile, prefix} = options;
  if (!['inputs', 'data'].includes(mode)) {
    throw new LoRAError(`mode must be 'inputs' or 'data', got ${show(mode)}.`);
  }
  if (dataFile !== undefined && (mode !== 'data' || typeof dataFile !== 'string' || !/^[^/\\]+$/.test(dataFile))) {
    throw new LoRAError(`dataFile must be the name of a file, for {mode: 'data'}, got ${show(dataFile)}.`);
  }
  if (prefix !== undefined && (typeof prefix !== 'string' || prefix === '')) {
    throw new LoRAError(`prefix must be the path of a module, such as 'model.encoder', got ${show(prefix)}.`);
  }
  checkLimits({...options});
  const {adaptFile} = await import('./adaptFile');
  return adaptFile(file, adapter, options);
}
