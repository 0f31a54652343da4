import * as tf from '@tensorflow/tfjs';
import {type BlockMatrix, packedSize} from '../../quantized/formats/blockMatrix';
import {dequantize} from '../../quantized/formats/formats';
import {BLOCKS} from '../../quantized/layers/blockLayer';
import {QuantizedDense} from '../../quantized/layers/quantizedDense';
import {QuantizedEmbedding} from '../../quantized/layers/quantizedEmbedding';
import {setWeight} from '../../transformers/load/assemble';
import type {Expected} from '../../transformers/net/netSources';
import type {Family} from './families';
import type {GGUFTensor} from './ggufFile';
import type {RowOrder} from './rowOrder';

/** Whether the hub stores a matrix as `[in, out]`; GGUF never does. */
export function isTransposed({weight, axes, shape}: Expected): boolean {
  return weight === 'kernel' && axes === undefined && shape.length === 2;
}

/** Sets a weight of a model to a tensor of a file. */
export function fill(
  layers: ReadonlyMap<string, tf.layers.Layer>,
  weight: Expected,
  tensor: GGUFTensor,
  bytes: Uint8Array<ArrayBuffer>,
  {order, family}: {order: RowOrder | undefined; family: Family},
): void {
  const [rows = 1, width = 1] = tensor.shape;
  const layer = layers.get(weight.layer);
  tf.tidy(() => {
    if (tensor.shape.length === 2 && (layer instanceof QuantizedDense || layer instanceof QuantizedEmbedding)) {
      const inOrder = order === undefined ? bytes : inHubOrder(bytes, rows, order);
      const matrix: BlockMatrix = {format: tensor.format, rows, width};
      const packed = packedIntegers(inOrder, packedSize(matrix));
      setWeight(layers, {...weight, weight: BLOCKS}, () => tf.tensor1d(packed, 'int32'));
      return;
    }
    const values = valuesOf(tensor, bytes);
    const inOrder =
      order === undefined
        ? values
        : new Float32Array(
            inHubOrder(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), rows, order).buffer,
          );
    setWeight(layers, weight, () => {
      const stored = tf.tensor(inOrder, isTransposed(weight) ? [...tensor.shape] : weight.shape, 'float32');
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

function inHubOrder(bytes: Uint8Array, rows: number, order: RowOrder): Uint8Array<ArrayBuffer> {
  const rowSize = bytes.length / rows;
  const out = new Uint8Array(bytes.length);
  for (let row = 0; row < rows; row++) {
    out.set(bytes.subarray(row * rowSize, (row + 1) * rowSize), order(row, rows) * rowSize);
  }
  return out;
}
