import type * as tf from '@tensorflow/tfjs';
import {type Adapter, layerConfigAt} from '../../core/adapter/adapter';
import {asLoRA} from '../../core/adapter/asLoRA';
import {checkAdapter} from '../../core/adapter/checkAdapter';
import {checkOptions, misfitError, throwFaults} from '../../platform/errors';
import {toTorch, type Values} from '../../platform/formats/layout';
import type {FileBytes} from '../../platform/formats/encodeSafetensors';
import {type CallOptions, checkCallOptions, stepsOf} from '../../platform/signals';
import {baseOf} from '../../core/layers/layerMarks';
import {resolveStrength, scalingOf} from '../../core/methods/lora';
import {checkFit} from '../../core/model/checkFit';
import {getAdapter} from '../../core/model/currentAdapter';
import {sitesOf} from '../../core/rewire/walk';
import {checkModel} from '../../platform/tfjs/checkModel';
import {floatTypeOf, readValues, type SafetensorsOptions} from '../../core/storage/safetensors';
import {hubRecordOf} from '../transformers/net/hubRecord';
import {TiedDense} from '../transformers/layers/tiedDense';
import {fileNameOf} from '../transformers/net/net';
import {familyOf, ggufName} from './gguf/ggufConfig';
import {type RowOrder, rowOrder} from './gguf/rowOrder';
import {writeGGUF} from './gguf/writeGGUF';

/** An update of a weight: `A`: `[rank, in]`, `B`: `[out, rank]`, and `alpha` of `alpha / rank`. */
interface Update {
  a: Values;
  b: Values;
  alpha: number;
}

/** The methods whose updates are exactly `A·B`. */
const PLAIN = new Set(['lora', 'lora-fa']);

/** How an adapter is written as a GGUF file. */
export interface ExportGGUFOptions extends SafetensorsOptions, CallOptions {
  /** The adapter to write. Default: the model's current adapter. */
  adapter?: Adapter;
}

/**
 * Writes an adapter of a language model as a GGUF file, which llama.cpp and tools built on it load with the base.
 * Tensors have the names and the row order of the base's GGUF file.
 *
 * @param model the adapted model, or with `{adapter}` also the plain one. Its base comes from `loadGGUF`, or from
 *     `loadTransformer` with the model_type llama, mistral, qwen2, qwen3, gemma3_text, lfm2, phi3 or gpt2.
 * @param options the adapter, and `dtype`: `'float32'` (default), `'float16'` or `'bfloat16'`.
 * @returns the bytes of the file.
 * @throws LoRAError `ERR_NOT_ADAPTED` if there is no adapter; `ERR_MISFIT` if the adapter does not fit the model;
 *     `ERR_UNSUPPORTED`, with a line for each, if it trains what GGUF adapters cannot hold: biases, layers in full,
 *     methods other than LoRA, an embedding that is also the output head; `ERR_NUMERIC` if a value is not finite.
 * @example
 * const file = await exportGGUF(adapted); // llama-cli -m base.gguf --lora adapter.gguf
 * @experimental
 */
export async function exportGGUF(model: tf.LayersModel, options: ExportGGUFOptions = {}): Promise<FileBytes> {
  checkOptions(options, {...{adapter: true, dtype: true, allowNonFinite: true}, ...{signal: true, onProgress: true}});
  const {adapter, dtype = 'float32'} = options;
  floatTypeOf(dtype);
  checkCallOptions(options);
  checkModel(model);
  if (adapter !== undefined) {
    return fileOf(adapter, model, options);
  }
  const current = getAdapter(model);
  try {
    return await fileOf(current, model, options);
  } finally {
    current.dispose();
  }
}

async function fileOf(adapter: Adapter, model: tf.LayersModel, options: ExportGGUFOptions): Promise<FileBytes> {
  const {dtype = 'float32', allowNonFinite} = options;
  checkAdapter(adapter);
  const recorded = hubRecordOf(model)?.config;
  if (typeof recorded !== 'object' || recorded === null) {
    throw misfitError('The architecture of the model is unknown. Load the model with loadGGUF or loadTransformer.');
  }
  const config = recorded as Readonly<Record<string, unknown>>;
  const {architecture, family} = familyOf(config.model_type);
  const sites = sitesOf(model).map(site => ({...site, layer: baseOf(site.layer)}));
  checkFit(adapter, sites);
  const plain = asLoRA(adapter);
  const updates = new Map<string, Update>();
  try {
    const layers = new Map(sites.map(({path, layer}) => [path, layer]));
    const {head, trainable, biases = []} = plain.config;
    const faults = [
      ...(head === undefined ? [] : ['the new head']),
      ...trainable.map(path => `${path}: all its weights train`),
      ...biases.map(path => `${path}: its bias trains`),
    ];
    const isTied = sites.some(({layer}) => layer.getClassName() === TiedDense.className);
    const values = await readValues(plain.tensors);
    const paths = Object.keys(plain.config.layers);
    const step = stepsOf(options);
    for (const [done, path] of paths.entries()) {
      await step({done, total: paths.length, what: 'exporting layers'});
      const layer = layerConfigAt(plain.config, path);
      const className = layers.get(path)?.getClassName() ?? '';
      const isTable = className.endsWith('Embedding');
      const name = ggufName(family, fileNameOf(path, 'weight'));
      const [a, b] = ['lora_A', 'lora_B'].map(factor => values[`${path}/${factor}`]);
      if (layer === undefined || name === undefined) {
        faults.push(`${path}: GGUF files have no name for it in the architecture ${architecture}`);
      } else if (!PLAIN.has(layer.method ?? 'lora') || a === undefined || b === undefined) {
        faults.push(
          `${path}: its method ${layer.method ?? 'lora'} is not a product of two factors; convertToLoRA makes it LoRA`,
        );
      } else if (layer.trainBias === true || !layer.freezeBaseLayer) {
        faults.push(`${path}: its base weights train too`);
      } else if (className === TiedDense.className || (isTable && isTied)) {
        faults.push(`${path}: the embedding is also the output head, which llama.cpp cannot adapt`);
      } else {
        const strength = resolveStrength(layer);
        const rows = toTorch(b); // [out, rank]
        const order = rowOrder(family, name, config);
        updates.set(name, {
          a: isTable ? a : toTorch(a), // of an embedding: [vocabulary, rank]
          b: order === undefined ? rows : reordered(rows, order),
          alpha: scalingOf(strength) * strength.rank,
        });
      }
    }
    throwFaults(faults, 'ERR_UNSUPPORTED', 'An adapter in GGUF can only hold low-rank updates, but this one also has:');
    await step({done: paths.length, total: paths.length, what: 'exporting layers'});
  } finally {
    plain.dispose();
  }
  const [alpha = 1] = [...updates.values()].map(update => update.alpha).filter(updateAlpha => updateAlpha > 0);
  const tensors: Record<string, Values> = {};
  for (const [name, {a, b, alpha: fileAlpha}] of updates) {
    tensors[`${name}.lora_a`] = a;
    tensors[`${name}.lora_b`] =
      fileAlpha === alpha ? b : {...b, data: b.data.map(value => value * (fileAlpha / alpha))};
  }
  return writeGGUF(
    {
      'general.type': 'adapter',
      'general.architecture': architecture,
      'adapter.type': 'lora',
      'adapter.lora.alpha': {float32: alpha},
    },
    tensors,
    {dtype: floatTypeOf(dtype), ...(allowNonFinite !== undefined && {allowNonFinite})},
  );
}

function reordered({shape, data}: Values, order: RowOrder): Values {
  const [rows = 1, width = 1] = shape;
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    const from = order(row, rows) * width;
    out.set(data.subarray(from, from + width), row * width);
  }
  return {shape, data: out};
}
