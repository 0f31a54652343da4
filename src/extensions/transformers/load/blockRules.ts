import type * as tf from '@tensorflow/tfjs';
import {bytesOf, readRows} from '../../quantized/formats/blockMatrix';
import {type BlockFormatName, scaleIn} from '../../quantized/formats/formats';
import type {BlockLayer} from '../../quantized/layers/blockLayer';
import {QuantizedDense} from '../../quantized/layers/quantizedDense';
import {QuantizedEmbedding} from '../../quantized/layers/quantizedEmbedding';
import {activated} from '../../onnx/layers/activations';
import type {Write} from '../../onnx/layers/call';
import {LAYERS, type Rules} from '../../onnx/layers/layers';
import {biased, indices} from '../../onnx/layers/shapes';
import type {GraphWriter, Source} from '../../onnx/write/graphWriter';
import {TYPE} from '../../onnx/write/messages';
import {sitesOf} from '../../../core/rewire/walk';
import type {KernelLayer} from '../../../platform/tfjs/layerFields';
import {TiedDense} from '../layers/tiedDense';

/** How a format's values are written: integers of 4 or 8 bits, with a scale for so many, and a minimum or none. */
interface Written {
  bits: 4 | 8;
  block: 16 | 32;
  hasMinimum?: true;
}

/** The formats that MatMulNBits holds without rounding: integers of 5 and 6 bits take 8. */
const FORMATS: Readonly<Partial<Record<BlockFormatName, Written>>> = {
  Q4_0: {bits: 4, block: 32},
  Q4_1: {bits: 4, block: 32, hasMinimum: true},
  Q4_K: {bits: 4, block: 32, hasMinimum: true},
  Q5_0: {bits: 8, block: 32},
  Q5_1: {bits: 8, block: 32, hasMinimum: true},
  Q5_K: {bits: 8, block: 32, hasMinimum: true},
  Q6_K: {bits: 8, block: 16},
  Q8_0: {bits: 8, block: 32},
};

/** The tensors of a matrix in blocks: `values = (integers − 2^(bits − 1))·scales`, plus `minima`: `[blocks, rows]`. */
interface BlockTensors extends Written {
  rows: number;
  width: number;
  integers: string;
  scales: string;
  minima: string | undefined;
}

/** The tensors of a layer's blocks, once for all that read them. */
function tensorsOf(out: GraphWriter, {blocks, matrix}: BlockLayer): BlockTensors {
  const {format, rows, width} = matrix;
  const written = FORMATS[format.name] as Written;
  const {bits, block, hasMinimum = false} = written;
  const count = width / block;
  const total = rows * count;
  // The operation subtracts `half`. Integers of 5 bits have room for it, and the minima of others get it.
  const half = 2 ** (bits - 1);
  const zero = hasMinimum && bits === 4 ? 0 : half;
  const inBytes = (block * bits) / 8;
  const addTensor = (name: string, type: number, shape: number[], fill: (bytes: Uint8Array) => Uint8Array) => {
    const length = shape.reduce((product, size) => product * size, type === TYPE.uint8 ? 1 : 4);
    const read = () => Promise.resolve(fill(bytesOf(blocks.read())));
    return out.once(`${name} of ${blocks.id}`, () => out.constant(type, shape, {length, read}, `${out.layer}/${name}`));
  };
  const scaleAt = (bytes: Uint8Array, i: number) => {
    const at = i * block;
    return scaleIn(format, bytes, Math.floor(at / format.numbers) * format.bytes, at % format.numbers);
  };
  const floats = (valueOf: (bytes: Uint8Array, i: number) => number) => (bytes: Uint8Array) =>
    new Uint8Array(Float32Array.from({length: total}, (_, i) => valueOf(bytes, i)).buffer);
  const integers = addTensor('integers', TYPE.uint8, [rows, count, inBytes], bytes => {
    const packed = new Uint8Array(total * inBytes);
    for (let row = 0; row < rows; row++) {
      readRows(matrix, bytes, row, 1).forEach((value, column) => {
        const [scale, minimum] = scaleAt(bytes, row * count + Math.floor(column / block));
        const integer = zero + (scale === 0 ? 0 : Math.round((value - minimum) / scale));
        const at = row * width + column;
        if (bits === 8) {
          packed[at] = integer;
        } else {
          packed[at >> 1] = (packed[at >> 1] ?? 0) | (integer << (4 * (at & 1)));
        }
      });
    }
    return packed;
  });
  const scales = addTensor(
    'scales',
    TYPE.float,
    [rows, count],
    floats((bytes, i) => scaleAt(bytes, i)[0]),
  );
  const minima =
    hasMinimum &&
    addTensor(
      'minima',
      TYPE.float,
      [count, rows],
      floats((bytes, i) => {
        const [scale, minimum] = scaleAt(bytes, (i % rows) * count + Math.floor(i / rows));
        return minimum + (half - zero) * scale;
      }),
    );
  return {...written, rows, width, integers, scales, minima: minima || undefined};
}

/**
 * `x·Wᵀ`. Minima are a product with the sums of blocks of `x`, because WebGPU takes no zero points in floats.
 */
function product(out: GraphWriter, x: string, tensors: BlockTensors): string {
  const {bits, block, rows, width, integers, scales, minima} = tensors;
  const y = out.node('com.microsoft.MatMulNBits', [x, integers, scales], {
    ...{K: width, N: rows, bits, block_size: block},
  });
  if (minima === undefined) {
    return y;
  }
  const sums = out.once(`sums of ${x}`, () =>
    out.reduce('ReduceSum', out.reshape(x, [0, 0, width / block, block]), [3]),
  );
  // Under another name, because adapters find the products of modules by their names.
  const {layer} = out;
  out.layer = `${layer}/minima`;
  const shift = out.node('MatMul', [sums, minima]);
  out.layer = layer;
  return out.node('Add', [y, shift]);
}

/** The rows of a table for tokens, by operations that every backend of ONNX Runtime has. */
function lookUp(out: GraphWriter, ids: string, tensors: BlockTensors): string {
  const {bits, block, width, integers, scales, minima} = tensors;
  const packed = out.cast(out.node('Gather', [integers, ids]), TYPE.float); // [batch, positions, blocks, bytes]
  let values = packed;
  if (bits === 4) {
    const high = out.node('Floor', [out.node('Div', [packed, out.float(16)])]);
    const low = out.node('Sub', [packed, out.node('Mul', [high, out.float(16)])]);
    const pairs = out.node('Concat', [out.unsqueeze(low, [4]), out.unsqueeze(high, [4])], {axis: 4});
    values = out.reshape(pairs, [0, 0, -1, block]);
  }
  const centered = out.node('Sub', [values, out.float(2 ** (bits - 1))]);
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
  // By its name, because another copy of this library may have made the layer.
  if (![QuantizedDense.className, QuantizedEmbedding.className].includes(layer?.getClassName() ?? '')) {
    return false;
  }
  const {format, width} = (layer as BlockLayer).matrix;
  return Object.hasOwn(FORMATS, format.name) && width % format.numbers === 0;
}

/** How transformers.js calls the type of a model's weights, and what ends the names of files with such weights. */
export function weightsType(model: tf.LayersModel): {dtype: 'q4' | 'q8' | 'fp32'; suffix: string} {
  const bits = sitesOf(model).map(({layer}) => keepsBlocks(layer) && FORMATS[layer.matrix.format.name]?.bits);
  if (bits.includes(4)) {
    return {dtype: 'q4', suffix: '_q4'};
  }
  // Files with weights in float16 compute in float32, which devices without float16 can too.
  return bits.includes(8) ? {dtype: 'q8', suffix: '_quantized'} : {dtype: 'fp32', suffix: ''};
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
