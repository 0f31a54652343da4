import type * as tf from '@tensorflow/tfjs';
import {fromFloat16} from '../../../platform/formats/halfFloats';
import {bytesOf} from '../../quantized/formats/blockMatrix';
import type {BlockLayer} from '../../quantized/layers/blockLayer';
import {QuantizedDense} from '../../quantized/layers/quantizedDense';
import {QuantizedEmbedding} from '../../quantized/layers/quantizedEmbedding';
import {activated} from '../../onnx/layers/activations';
import type {Write} from '../../onnx/layers/call';
import {LAYERS, type Rules} from '../../onnx/layers/layers';
import {biased, indices} from '../../onnx/layers/shapes';
import type {GraphWriter, Source} from '../../onnx/write/graphWriter';
import {TYPE} from '../../onnx/write/messages';
import type {KernelLayer} from '../../../platform/tfjs/layerFields';
import {TiedDense} from '../layers/tiedDense';

const BLOCK = 32;

/** The formats whose blocks MatMulNBits holds: the bits of a value, and whether a block has a minimum. */
const FORMATS: Readonly<Record<string, {bits: 4 | 8; hasMinimum?: true}>> = {
  Q4_0: {bits: 4},
  Q4_1: {bits: 4, hasMinimum: true},
  Q8_0: {bits: 8},
};

/** The tensors of a matrix in blocks: `values = (integers − zero)·scales`, plus `minima`: `[blocks, rows]`. */
interface BlockTensors {
  bits: 4 | 8;
  rows: number;
  width: number;
  integers: string;
  scales: string;
  minima: string | undefined;
}

/** The tensors of a layer's blocks, once for all that read them. Minima count from integers that are less `zero`. */
function tensorsOf(out: GraphWriter, {blocks, matrix}: BlockLayer): BlockTensors {
  const {format, rows, width} = matrix;
  const {bits, hasMinimum = false} = FORMATS[format.name] as {bits: 4 | 8; hasMinimum?: true};
  const count = Math.ceil(width / BLOCK);
  const total = rows * count;
  const [bytesInBlock, head] = [4 * bits, hasMinimum ? 4 : 2];
  const halfAt = (bytes: Uint8Array, at: number) => fromFloat16((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8));
  const addTensor = (name: string, type: number, shape: number[], fill: (bytes: Uint8Array) => Uint8Array) => {
    const length = shape.reduce((product, size) => product * size, type === TYPE.uint8 ? 1 : 4);
    const read = () => Promise.resolve(fill(bytesOf(blocks.read())));
    return out.once(`${name} of ${blocks.id}`, () => out.constant(type, shape, {length, read}, `${out.layer}/${name}`));
  };
  const floats = (valueOf: (bytes: Uint8Array, block: number) => number) => (bytes: Uint8Array) => {
    const values = Float32Array.from({length: total}, (_, block) => valueOf(bytes, block));
    return new Uint8Array(values.buffer);
  };
  const integers = addTensor('integers', TYPE.uint8, [rows, count, bytesInBlock], bytes => {
    const values = new Uint8Array(total * bytesInBlock);
    for (let block = 0; block < total; block++) {
      const from = block * format.bytes + head;
      const to = block * bytesInBlock;
      for (let i = 0; i < bytesInBlock; i++) {
        values[to + i] = bits === 8 ? (bytes[from + i] ?? 0) ^ 128 : pairAt(bytes, from, i);
      }
    }
    return values;
  });
  const scales = addTensor(
    'scales',
    TYPE.float,
    [rows, count],
    floats((bytes, block) => halfAt(bytes, block * format.bytes)),
  );
  return {
    ...{bits, rows, width, integers, scales},
    minima: hasMinimum
      ? addTensor(
          'minima',
          TYPE.float,
          [count, rows],
          floats((bytes, at) => {
            const block = (at % rows) * count + Math.floor(at / rows);
            return halfAt(bytes, block * format.bytes + 2) + 8 * halfAt(bytes, block * format.bytes);
          }),
        )
      : undefined,
  };
}

/** Values `2i` and `2i + 1` of a block, which GGUF has in the halves of two bytes, in one byte. */
function pairAt(bytes: Uint8Array, from: number, i: number): number {
  const at = from + ((2 * i) & 15);
  const shift = i < 8 ? 0 : 4;
  return (((bytes[at] ?? 0) >> shift) & 15) | ((((bytes[at + 1] ?? 0) >> shift) & 15) << 4);
}

/**
 * `x·Wᵀ`. Minima are a product with the sums of blocks of `x`, because WebGPU takes no zero points in floats.
 */
function product(out: GraphWriter, x: string, tensors: BlockTensors): string {
  const {bits, rows, width, integers, scales, minima} = tensors;
  const y = out.node('com.microsoft.MatMulNBits', [x, integers, scales], {
    ...{K: width, N: rows, bits, block_size: BLOCK},
  });
  if (minima === undefined) {
    return y;
  }
  const sums = out.once(`sums of ${x}`, () =>
    out.reduce('ReduceSum', out.reshape(x, [0, 0, width / BLOCK, BLOCK]), [3]),
  );
  return out.node('Add', [y, out.node('MatMul', [sums, minima])]);
}

/** The rows of a table for tokens, by operations that every backend of ONNX Runtime has. */
function lookUp(out: GraphWriter, ids: string, {bits, width, integers, scales, minima}: BlockTensors): string {
  const packed = out.cast(out.node('Gather', [integers, ids]), TYPE.float); // [batch, positions, blocks, bytes]
  let values = packed;
  if (bits === 4) {
    const high = out.node('Floor', [out.node('Div', [packed, out.float(16)])]);
    const low = out.node('Sub', [packed, out.node('Mul', [high, out.float(16)])]);
    const pairs = out.node('Concat', [out.unsqueeze(low, [4]), out.unsqueeze(high, [4])], {axis: 4});
    values = out.reshape(pairs, [0, 0, -1, BLOCK]);
  }
  const centered = out.node('Sub', [values, out.float(bits === 8 ? 128 : 8)]);
  const scaled = out.node('Mul', [centered, out.unsqueeze(out.node('Gather', [scales, ids]), [3])]);
  const shifted =
    minima === undefined
      ? scaled
      : out.node('Add', [
          scaled,
          out.unsqueeze(out.node('Transpose', [out.node('Gather', [minima, ids], {axis: 1})], {perm: [1, 2, 0]}), [3]),
        ]);
  return out.reshape(shifted, [0, 0, width]);
}

/** Whether a layer's blocks are written as they are: rows that end within a block would need another product. */
export function keepsBlocks(layer: tf.layers.Layer | undefined): layer is BlockLayer & tf.layers.Layer {
  return (
    (layer instanceof QuantizedDense || layer instanceof QuantizedEmbedding) &&
    Object.hasOwn(FORMATS, layer.matrix.format.name) &&
    layer.matrix.width % BLOCK === 0
  );
}

const otherwise = (className: string) => LAYERS[className] as Write;

const dense: Write = (out, call) => {
  if (!keepsBlocks(call.layer)) {
    return otherwise(QuantizedDense.className)(out, call);
  }
  const {bias, activation} = call.fields<KernelLayer>();
  const y = product(out, out.plain(call.input), tensorsOf(out, call.layer));
  return activated(out, call.output(biased(out, y, bias)), activation);
};

const embedding: Write = (out, call) =>
  keepsBlocks(call.layer)
    ? call.output(lookUp(out, indices(out, call.input), tensorsOf(out, call.layer)))
    : otherwise(QuantizedEmbedding.className)(out, call);

const tiedDense: Write = (out, call) => {
  const {lender, bias} = call.fields<{lender?: tf.layers.Layer; bias: Source | null}>();
  return keepsBlocks(lender)
    ? call.output(biased(out, product(out, out.plain(call.input), tensorsOf(out, lender)), bias))
    : otherwise(TiedDense.className)(out, call);
};

/** Rules that keep the blocks of quantized matrices. */
export const BLOCK_RULES: Rules = {
  [QuantizedDense.className]: dense,
  [QuantizedEmbedding.className]: embedding,
  [TiedDense.className]: tiedDense,
};
