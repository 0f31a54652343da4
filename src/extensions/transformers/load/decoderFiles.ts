import type * as tf from '@tensorflow/tfjs';
import {unsupportedError} from '../../../platform/errors';
import type {FileBytes} from '../../../platform/formats/encodeSafetensors';
import {shortName} from '../../../platform/tfjs/configs';
import {whileMerged} from '../../../core/model/whileMerged';
import {sitesOf} from '../../../core/rewire/walk';
import {type Interface, writeModel, type WriteModelOptions} from '../../onnx/export/writeModel';
import {TYPE} from '../../onnx/write/messages';
import {BLOCK_RULES, weightsType} from './blockRules';
import {cachedRules} from './cachedRules';
import {ShortConvolution} from '../layers/shortConvolution';
import {isAttention} from './isDecoder';

/** The classes of layers that compute each position by itself, or with the cache of attention. */
const BY_POSITION = [
  ...['InputLayer', 'Embedding', 'QuantizedEmbedding', 'PositionEmbedding', 'Attention', 'ShortConvolution'],
  ...['Dense', 'QuantizedDense', 'TiedDense', 'Gate', 'GatedActivation', 'Activation', 'Gelu'],
  ...['LayerNormalization', 'FusedLayerNormalization', 'RMSNormalization', 'FusedRMSNormalization'],
  ...['Add', 'Affine', 'Scaling', 'SoftCap', 'Dropout', 'Reshape', 'Permute'],
];

/** A decoder as transformers.js takes it. */
interface DecoderFiles {
  /** The files by their paths. */
  files: Record<string, FileBytes>;
  /** What transformers.js reads in `config.json`. */
  config: Record<string, unknown>;
}

/**
 * Writes a language model with inputs and outputs for the keys and values of earlier positions.
 *
 * @param positions the longest text.
 * @throws LoRAError `ERR_UNSUPPORTED` with a line for each layer that cannot be written.
 */
export async function decoderFiles(
  model: tf.LayersModel,
  positions: number,
  options: WriteModelOptions,
): Promise<DecoderFiles> {
  return whileMerged(model, async plain => {
    const layers = sitesOf(plain).map(({layer}) => layer);
    const other = layers.find(layer => !BY_POSITION.includes(shortName(layer.getClassName())));
    if (other !== undefined) {
      throw unsupportedError(
        `Layer "${other.name}" is a ${other.getClassName()}, for which files with a cache have no input. ` +
          'toONNX(model) writes the model without a cache.',
      );
    }
    const {dtype, suffix} = weightsType(plain);
    const name = `model${suffix}.onnx`;
    const caches = cachesOf(plain);
    const {file, data} = await writeModel(plain, options, interfaceOf(plain, caches, positions, `${name}_data`));
    return {
      files: {[`onnx/${name}`]: file, [`onnx/${name}_data`]: data},
      config: {
        'transformers.js_config': {dtype, use_external_data_format: true},
        // transformers.js needs it, and some configs have `full_attn_idxs` instead.
        ...(caches.some(({taps}) => taps !== undefined) && {
          layer_types: caches.map(({taps}) => (taps === undefined ? 'full_attention' : 'conv')),
        }),
      },
    };
  });
}

const POSITIONS = 'position_ids';

/** The cache of a layer: of attention, or of a short convolution of so many taps. */
interface Cache {
  heads: number;
  size: number;
  taps?: number;
}

/** The layers with a cache, in their order. */
function cachesOf(model: tf.LayersModel): Cache[] {
  return sitesOf(model).flatMap(({layer}): Cache[] => {
    const [shape] = [layer.inboundNodes[0]?.inputShapes ?? []].flat() as tf.Shape[];
    const width = shape?.[2] ?? 0;
    if (layer.getClassName() === ShortConvolution.className) {
      const {taps} = layer.getConfig() as {taps: number};
      return [{heads: 1, size: width / 3, taps}];
    }
    if (!isAttention(layer)) {
      return [];
    }
    const {heads, keyValueHeads, packed} = layer.getConfig() as Record<'heads' | 'keyValueHeads' | 'packed', number>;
    return [{heads: keyValueHeads, size: width / (packed ? heads + 2 * keyValueHeads : heads)}];
  });
}

/** Names, types and sizes as transformers.js has them: it makes the first cache of the sizes that are numbers. */
function interfaceOf(model: tf.LayersModel, caches: readonly Cache[], positions: number, dataFile: string): Interface {
  const sequence = ['batch_size', 'sequence_length'];
  const cacheValues = (prefix: string, convolutionPrefix: string, length: string) =>
    caches.flatMap(({heads, size, taps}, i) =>
      taps === undefined
        ? ['key', 'value'].map(name => {
            return {name: `${prefix}.${i}.${name}`, type: TYPE.float, shape: ['batch_size', heads, length, size]};
          })
        : [{name: `${convolutionPrefix}.${i}`, type: TYPE.float, shape: ['batch_size', size, taps]}],
    );
  return {
    inputs: [
      {name: 'input_ids', type: TYPE.int64, axes: sequence},
      {name: 'attention_mask', type: TYPE.int64, axes: ['batch_size', 'total_sequence_length']},
    ],
    outputs: [{name: 'logits', tensor: model.outputs[0] as tf.SymbolicTensor}],
    rules: {...BLOCK_RULES, ...cachedRules(positions, POSITIONS)},
    more: {
      inputs: [
        {name: POSITIONS, type: TYPE.int64, shape: sequence},
        ...cacheValues('past_key_values', 'past_conv', 'past_sequence_length'),
      ],
      outputs: cacheValues('present', 'present_conv', 'total_sequence_length'),
    },
    dataFile,
  };
}
