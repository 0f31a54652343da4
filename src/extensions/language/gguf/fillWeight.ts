import * as tf from '@tensorflow/tfjs';
import {type BlockMatrix, packedSize} from '../../quantized/formats/blockMatrix';
import {dequantize} from '../../quantized/formats/formats';
import {quantizedKernels} from '../../quantized/kernels/quantizedKernels';
import {type BlockLayer, BLOCKS} from '../../quantized/layers/blockLayer';
import {QuantizedDense} from '../../quantized/layers/quantizedDense';
import {QuantizedEmbedding} from '../../quantized/layers/quantizedEmbedding';
import {setWeight} from '../../transformers/load/assemble';
import type {Expected} from '../../transformers/net/netSources';
import type {Family} from './families';
import type {GGUFTensor} from './ggufFile';

/** Whether the hub stores a matrix as `[in, out]`; GGUF never does. */
export function isTransposed({weight, axes, shape}: Expected): boolean {
  return weight === 'kernel' && axes === undefined && shape.length === 2;
}

/** The layer of a weight, if it holds a tensor of a file as it is. */
function blockLayer(layer: tf.layers.Layer | undefined, {shape}: GGUFTensor): BlockLayer | undefined {
  return shape.length === 2 && (layer instanceof QuantizedDense || layer instanceof QuantizedEmbedding)
    ? layer
    : undefined;
}

/** The memory of a layer's blocks that a tensor can be read into; it moves when more is allocated. */
export function memoryFor(layer: tf.layers.Layer | undefined, tensor: GGUFTensor): (() => Uint8Array) | undefined {
  const blocks = blockLayer(layer, tensor)?.blocks.read();
  const {bytesOf} = quantizedKernels(tensor.format) ?? {};
  return blocks && bytesOf && (() => bytesOf(blocks).subarray(0, tensor.bytes));
}

/** Sets a weight of a model to a tensor of a file, whose rows are in order. */
export function fill(
  layers: ReadonlyMap<string, tf.layers.Layer>,
  weight: Expected,
  tensor: GGUFTensor,
  bytes: Uint8Array<ArrayBuffer>,
  family: Family,
): void {
  const [rows = 1, width = 1] = tensor.shape;
  tf.tidy(() => {
    if (blockLayer(layers.get(weight.layer), tensor) !== undefined) {
      const matrix: BlockMatrix = {format: tensor.format, rows, width};
      const packed = packedIntegers(bytes, packedSize(matrix));
      setWeight(layers, {...weight, weight: BLOCKS}, () => tf.tensor1d(packed, 'int32'));
      return;
    }
    const values = valuesOf(tensor, bytes);
    setWeight(layers, weight, () => {
      const stored = tf.tensor(values, isTransposed(weight) ? [...tensor.shape] : weight.shape, 'float32');
      const value = isTransposed(weight) || weight.axes !== undefined ? tf.transpose(stored) : stored;
      return family.addedOne === true && weight.weight === 'gamma' ? tf.sub(value, 1) : value;
    });
  });
}

/** The values of a tensor in float32. */
export function valuesOf({shape, format}: GGUFTensor, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const values = new Float32Array(tf.util.sizeFromShape([...shape]));
  dequantize(format, bytes, 0, values.length / format.numbers, values);
  return values;
}

/** Returns bytes as 32-bit integers, padded with zeros. */
function packedIntegers(bytes: Uint8Array<ArrayBuffer>, count: number): Int32Array {
  if (bytes.length === 4 * count && bytes.byteOffset % 4 === 0) {
    return new Int32Array(bytes.buffer, bytes.byteOffset, count);
  }
  const packed = new Int32Array(count);
  new Uint8Array(packed.buffer).set(bytes);
  return packed;
}
