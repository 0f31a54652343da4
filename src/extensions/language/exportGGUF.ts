import type * as tf from '@tensorflow/tfjs';
import {type Adapter, layerConfigAt} from '../../core/adapter/adapter';
import {asLoRA} from '../../core/adapter/asLoRA';
import {checkAdapter} from '../../core/adapter/checkAdapter';
import {checkOptions, faultLines, misfitError, unsupportedError} from '../../platform/errors';
import {toTorch, type Values} from '../../platform/formats/layout';
import type {Bytes} from '../../platform/formats/safetensors';
import {baseOf} from '../../core/layers/wrapperLayer';
import {resolveStrength, scalingOf} from '../../core/methods/lora';
import {checkFit} from '../../core/model/checkFit';
import {checkModel, sitesOf} from '../../core/rewire/walk';
import {floatTypeOf, readValues, type SafetensorsOptions} from '../../core/storage/safetensors';
import {hubRecordOf} from '../transformers/load/hubRecord';
import {TiedDense} from '../transformers/layers/tiedDense';
import {fileNameOf} from '../transformers/net/net';
import {familyOf, ggufName, hubRow, pairedHeads} from './gguf/ggufConfig';
import {writeGGUF} from './gguf/writeGGUF';

/** What is added to a weight: `A`: `[rank, in]`, `B`: `[out, rank]`, and `alpha` of `alpha / rank`. */
interface Update {
  a: Values;
  b: Values;
  alpha: number;
}

/** The methods whose updates are `A·B` as it stands. */
const PLAIN = new Set(['lora', 'lora-fa']);

/**
 * An adapter of a language model as a GGUF file, which llama.cpp, and what is built on it, loads beside the base:
 *
 *     const file = await exportGGUF(getAdapter(adapted), adapted); // llama-cli -m base.gguf --lora adapter.gguf
 *
 * Tensors have the names and the order of rows that GGUF files of the base have. GGUF has one `alpha` for all layers:
 * where those of the adapter differ, `B` is multiplied with what is missing.
 *
 * @param model the base of the adapter, plain or adapted: a model of `loadGGUF`, or one of `loadTransformer` of the
 *     model_type llama, mistral, qwen2, qwen3, gemma3_text, phi3 or gpt2, in its blocks or in float32.
 * @throws LoRAError if the adapter does not fit the model, or GGUF has no place for what it trains, with a line for
 *     each: biases, layers that train in full, methods other than LoRA, a table of words that is the head too; or if
 *     numbers are not finite.
 */
export async function exportGGUF(
  adapter: Adapter,
  model: tf.LayersModel,
  options: SafetensorsOptions = {},
): Promise<Bytes> {
  checkOptions(options, {dtype: true, allowNonFinite: true});
  const {dtype = 'float32', ...finite} = options;
  const type = floatTypeOf(dtype);
  checkModel(model);
  checkAdapter(adapter);
  const said = hubRecordOf(model)?.config;
  if (typeof said !== 'object' || said === null) {
    throw misfitError('The model does not say what it is. Models of loadGGUF and loadTransformer do.');
  }
  const config = said as Readonly<Record<string, unknown>>;
  const {architecture, family} = familyOf(config.model_type);
  const sites = sitesOf(model).map(site => ({...site, layer: baseOf(site.layer)}));
  checkFit(adapter, sites);
  const plain = asLoRA(adapter);
  const updates = new Map<string, Update>();
  try {
    const layers = new Map(sites.map(({path, layer}) => [path, layer]));
    const {head, trainable, biases = []} = plain.config;
    const faults = [
      ...(head === undefined ? [] : ['a new head, which GGUF has not']),
      ...trainable.map(path => `${path}: trains in full, and an adapter in GGUF has updates alone`),
      ...biases.map(path => `${path}: its bias trains, and an adapter in GGUF has updates alone`),
    ];
    const isTied = sites.some(({layer}) => layer.getClassName() === TiedDense.className);
    const values = await readValues(plain.tensors);
    for (const path of Object.keys(plain.config.layers)) {
      const layer = layerConfigAt(plain.config, path);
      const className = layers.get(path)?.getClassName() ?? '';
      const isTable = className.endsWith('Embedding');
      const name = ggufName(family, fileNameOf(path, 'weight'));
      const [a, b] = ['lora_A', 'lora_B'].map(factor => values[`${path}/${factor}`]);
      if (layer === undefined || name === undefined) {
        faults.push(`${path}: has no name in GGUF files of the architecture ${architecture}`);
      } else if (!PLAIN.has(layer.method ?? 'lora') || a === undefined || b === undefined) {
        faults.push(`${path}: by the method ${layer.method ?? 'lora'}, whose updates are no products of two factors`);
      } else if (layer.trainBias === true || !layer.freezeBaseLayer) {
        faults.push(`${path}: its own weights train too, and an adapter in GGUF has updates alone`);
      } else if (className === TiedDense.className || (isTable && isTied)) {
        faults.push(`${path}: llama.cpp has one tensor for the table of words and the head, and no update of either`);
      } else {
        const strength = resolveStrength(layer);
        const turned = toTorch(b); // [out, rank]
        const heads = pairedHeads(family, name, config);
        updates.set(name, {
          a: isTable ? a : toTorch(a), // of a table [words, rank]
          b: heads === undefined ? turned : byPairs(turned, heads),
          alpha: scalingOf(strength) * strength.rank,
        });
      }
    }
    if (faults.length > 0) {
      throw unsupportedError(`The adapter cannot be written as GGUF:\n${faultLines(faults)}`);
    }
  } finally {
    plain.dispose();
  }
  const [alpha = 1] = [...updates.values()].map(update => update.alpha).filter(each => each > 0);
  const tensors: Record<string, Values> = {};
  for (const [name, {a, b, alpha: own}] of updates) {
    tensors[`${name}.lora_a`] = a;
    tensors[`${name}.lora_b`] = own === alpha ? b : {...b, data: b.data.map(value => value * (own / alpha))};
  }
  return writeGGUF(
    {
      'general.type': 'adapter',
      'general.architecture': architecture,
      'adapter.type': 'lora',
      'adapter.lora.alpha': {float32: alpha},
    },
    tensors,
    {dtype: type, ...finite},
  );
}

/** Rows of heads as GGUF files have them. */
function byPairs({shape, data}: Values, heads: number): Values {
  const [rows = 1, width = 1] = shape;
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    const from = hubRow(row, rows, heads) * width;
    out.set(data.subarray(from, from + width), row * width);
  }
  return {shape, data: out};
}
