import type * as tf from '@tensorflow/tfjs';
import {unsupportedError} from '../../../platform/errors';
import {ByteReader} from '../../../platform/formats/byteReader';
import {openSafetensors, takeNumbers} from '../../../platform/formats/decodeSafetensors';
import {explained} from '../../../platform/formats/explained';
import type {LoadOptions} from '../../../core/storage/limits';
import {type BlockFormatName, formatNamed} from '../../quantized/formats/formats';
import {nativeQuantized} from '../../quantized/kernels/wasm/kernels';
import {supplyQuantizedKernels} from '../../quantized/kernels/quantizedKernels';
import {QuantizedDense} from '../../quantized/layers/quantizedDense';
import {QuantizedEmbedding} from '../../quantized/layers/quantizedEmbedding';
import {inOrder, openStreamed, placesIn, type WeightSource} from '../../quantized/streamed/openStreamed';
import type {Place, StreamedFile} from '../../quantized/streamed/streamedFile';
import type {Expected, NetSources} from '../net/netSources';
import type {Assignment} from './fileTensors';
import type {OpenWeights} from './onnxWeights';
import {floatBytes} from './packedLayers';

/** A safetensors file whose matrices stay there. */
export interface StreamedWeights extends OpenWeights {
  readonly file: StreamedFile;
  /** Where the tensors begin. */
  readonly start: number;
  /** The tensors that are not read. */
  readonly inFile: Set<string>;
}

/** Opens a safetensors file and reads its header. */
export async function openStreamedWeights(
  source: WeightSource | PromiseLike<WeightSource>,
  limits: LoadOptions,
  maxReadBytes: number,
): Promise<StreamedWeights> {
  supplyQuantizedKernels('wasm', nativeQuantized);
  const file = await openStreamed(source, limits, maxReadBytes);
  const bytesAt = (begin: number, count: number) => {
    const bytes = new Uint8Array(count);
    file.read(bytes, begin);
    return bytes;
  };
  try {
    const reader = new ByteReader(inOrder(file));
    const {entries} = await openSafetensors(reader);
    const [start, inFile] = [reader.position, new Set<string>()];
    return {
      ...{file, start, inFile, entries},
      read: async visit => {
        for (const [name, entry] of entries) {
          const {begin, end} = entry;
          await visit(name, entry, inFile.has(name) ? null : takeNumbers(bytesAt(start + begin, end - begin), entry));
        }
        if (inFile.size === 0) {
          file.close();
        }
      },
    };
  } catch (error) {
    const beginning = bytesAt(0, Math.min(64, file.size));
    file.close();
    throw await explained(error, beginning, 'a safetensors file');
  }
}

/** How layers compute with the matrices in files. */
export interface StreamedLayers {
  make: NonNullable<NetSources['make']>;
  /** The bytes that are held: of weights that do not stay in the files, and of the largest block. */
  bytesOf: (weights: readonly Expected[]) => number;
  /**
   * Notes the tensors that layers read from the files.
   *
   * @throws LoRAError if there are none.
   */
  note: (layers: ReadonlyMap<string, tf.layers.Layer>) => void;
}

/**
 * How layers read their matrices from files.
 *
 * @throws LoRAError `ERR_UNSUPPORTED` if matrices are stored with a column for each output.
 */
export function streamedLayers(files: readonly StreamedWeights[], {weights: weightsOf}: Assignment): StreamedLayers {
  const placeOf = new Map<string, {place: Place; format: BlockFormatName}>();
  for (const {file, start, entries} of files) {
    const tensors = entries.map(([name, {dtype, begin, end, shape}]) => {
      return {name, dtype, shape, begin: start + begin, bytes: end - begin};
    });
    const blockOf = (name: string) => /^.*?\.\d+(?=\.)/.exec(name)?.[0];
    const places = placesIn(file, tensors, blockOf, ({name, shape}) => {
      const [weight] = weightsOf.get(name) ?? [];
      if (shape.length === 2 && weight?.weight === 'kernel' && weight.axes === undefined) {
        throw unsupportedError(
          `${name} has a column for each output, as in GPT-2, and cannot be streamed. Load the model without ` +
            "{weights: 'streamed'}.",
        );
      }
      return shape.length === 2 && /^(?:kernel|embeddings)$/.test(weight?.weight ?? '') ? {widens: true} : undefined;
    });
    for (const {name, dtype} of tensors) {
      const place = places.get(name);
      for (const {layer, rowSlice} of (place && weightsOf.get(name)) ?? []) {
        const tensor = place as Place;
        const {index, of} = rowSlice ?? {index: 0, of: 1};
        const bytes = tensor.bytes / of;
        const sliced = {...tensor, bytes, begin: tensor.begin + index * bytes};
        placeOf.set(layer, {place: sliced, format: dtype as BlockFormatName});
      }
    }
  }
  return {
    make: (_, className, args) => {
      const {place, format} = placeOf.get(args.name) ?? {};
      if (place === undefined || formatNamed(format ?? '') === undefined) {
        return undefined;
      }
      const config = {...args, blocks: {name: format as BlockFormatName}};
      return Object.assign(className === 'Dense' ? new QuantizedDense(config) : new QuantizedEmbedding(config), {
        place,
      });
    },
    bytesOf: weights =>
      floatBytes(weights.filter(({layer, weight}) => weight === 'bias' || !placeOf.has(layer))) +
      Math.max(...files.map(({file}) => file.largestRun)),
    note: layers => {
      const isStreamed = ({layer, weight}: Expected) =>
        weight !== 'bias' && (layers.get(layer) as Partial<QuantizedDense>).place !== undefined;
      for (const {entries, inFile} of files) {
        const names = entries.map(([name]) => name).filter(name => weightsOf.get(name)?.some(isStreamed));
        names.forEach(name => inFile.add(name));
      }
      if (files.every(({inFile}) => inFile.size === 0)) {
        throw unsupportedError("The files have no matrices that stay there: {weights: 'streamed'} has no effect.");
      }
    },
  };
}
