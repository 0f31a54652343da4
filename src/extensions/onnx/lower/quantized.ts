import type {GraphNode} from '../../graph/graphDef';
import {sizeOf} from '../../../platform/formats/layout';
import {QuantizedDense} from '../../quantized/layers/quantizedDense';
import {nBitsFit, NBitsMatrix, nBitsSizes} from '../file/nBits';
import type {Rule} from './activations';
import {conv} from './convolutions';
import {cast} from './elementwise';
import type {QuantizedProduct} from './lowering';
import {OnnxCall} from './onnxCall';
import {scaleBehind} from './scaleBehind';
import {dense, stackProduct} from './products';

// Quantized files. Weights are dequantized to floats, or stay in blocks if a format of `tfjs-lora/quantized` can
// represent them exactly. Activations stay floats: where a file quantizes them, they are clipped to the range of the
// integers, but not rounded.

/** ONNX type → range of its integers. */
const RANGES: Readonly<Record<number, readonly [low: number, high: number]>> = {
  2: [0, 255],
  3: [-128, 127],
  4: [0, 65535],
  5: [-32768, 32767],
  6: [-(2 ** 31), 2 ** 31 - 1],
  21: [0, 15],
  22: [-8, 7],
};

/** The scales and zero points of a constant: `(value - zero) · scale`. */
interface Grid {
  scale: ArrayLike<number>;
  zero: ArrayLike<number> | undefined;
  /** The index of the scale for the value at a flat index. */
  at: (place: number) => number;
}

/** The values of a constant input; `undefined` if it is missing or computed. */
function constantAt(call: OnnxCall, index: number): {data: ArrayLike<number>; shape: number[]} | undefined {
  const value = call.has(index) ? call.value(index) : undefined;
  if (value?.kind !== 'constant') {
    return undefined;
  }
  const stored = call.lowering.file.tensors.get(call.key(index));
  const data = value.values ?? stored?.values() ?? value.tensor.dataSync();
  return {data, shape: [...(stored?.shape ?? value.tensor.shape)]};
}

function neededConstant(call: OnnxCall, index: number): {data: ArrayLike<number>; shape: number[]} {
  return constantAt(call, index) ?? call.refuse(`The node needs a constant input ${index}.`);
}

/** The scales of a tensor: one for all values, one for each index of an axis, or one for each block of an axis. */
function gridOf(call: OnnxCall, shape: readonly number[], [s, z]: readonly [number, number], axis: number): Grid {
  const {data: scale, shape: scaleShape} = neededConstant(call, s);
  const zero = call.has(z) ? neededConstant(call, z).data : undefined;
  const block = call.int('block_size', 0);
  const inner = sizeOf(shape.slice(axis + 1));
  const count = shape[axis] ?? 1;
  if (scale.length === 1) {
    return {scale, zero, at: () => 0};
  }
  if (block > 0 && scaleShape.length === shape.length) {
    const blocks = scaleShape[axis] ?? 1;
    return {
      ...{scale, zero},
      at: place => {
        const outer = Math.floor(place / (inner * count));
        const perAxis = Math.floor(place / inner) % count;
        return (outer * blocks + Math.floor(perAxis / block)) * inner + (place % inner);
      },
    };
  }
  return scale.length === count
    ? {scale, zero, at: place => Math.floor(place / inner) % count}
    : call.refuse(`The node has ${scale.length} scales for an axis of ${count}.`);
}

function dequantized(data: ArrayLike<number>, {scale, zero, at}: Grid): Float32Array {
  const result = new Float32Array(data.length);
  for (let i = 0; i < result.length; i++) {
    const place = at(i);
    // The product of floats that ONNX Runtime computes.
    result[i] = ((data[i] ?? 0) - (zero?.[place] ?? 0)) * (scale[place] ?? 0);
  }
  return result;
}

/** Adds a computed constant to the plan, and returns its name. */
function addConstant(
  call: OnnxCall,
  shape: readonly number[],
  make: () => Float32Array | Int32Array,
  isInt = false,
): string {
  const name = call.lowering.freshName(call.node.name);
  const type = isInt ? 'int32' : 'float32';
  call.planner.values.set(
    `${name}:0`,
    call.lowering.lazy(sizeOf(shape), () => ({data: make(), shape}), type),
  );
  return name;
}

/** The axis that has a scale for each index. */
function scaleAxis(call: OnnxCall, rank: number): number {
  return rank === 0 ? 0 : call.axis(call.int('axis', 1), rank > 1 || call.int('axis', 1) < 1 ? rank : 2);
}

export const dequantizeLinear: Rule = async call => {
  const isInBlocks = call.int('block_size', 0) > 0;
  const stored = constantAt(call, 0);
  if (call.dtype() === 'float32') {
    call.setOutput(call.key(0), call.perm()); // The input was never quantized.
  } else if (stored !== undefined) {
    const {data, shape} = stored;
    const grid = gridOf(call, shape, [1, 2], scaleAxis(call, shape.length));
    call.lowering.dequantized.add(call.proto.outputs[0] ?? '');
    call.setOutput(addConstant(call, shape, () => dequantized(data, grid)));
  } else if (isInBlocks) {
    call.refuse('The node has blocks of what is computed.');
  } else {
    const floats = await cast(call, await call.input(), 'DT_FLOAT');
    const zero = call.has(2) ? await along(call, 2) : undefined;
    const constantAsFloats =
      zero === undefined ? floats : await call.emit('Sub', [floats, await cast(call, zero, 'DT_FLOAT')]);
    call.setOutput(await call.emit('Mul', [constantAsFloats, await along(call, 1)]));
  }
};

/** A scale or zero point for each index of an axis, reshaped to broadcast. */
async function along(call: OnnxCall, index: number): Promise<string> {
  const rank = call.rank();
  if (call.rank(index) === 0) {
    return call.input(index);
  }
  const behind = rank - 1 - scaleAxis(call, rank);
  const shape = [call.size(index, 0) ?? 1, ...new Array<number>(behind).fill(1)];
  return call.emit('Reshape', [await call.input(index), call.constant(shape)]);
}

export const quantizeLinear: Rule = async call => {
  const stored = constantAt(call, 0);
  const type = call.lowering.file.tensors.get(call.has(2) ? call.key(2) : '')?.type ?? call.int('output_dtype', 2);
  const [low, high] = RANGES[type || 2] ?? call.refuse(`The node gives type ${type}.`);
  if (stored !== undefined) {
    const {data, shape} = stored;
    const grid = gridOf(call, shape, [1, 2], scaleAxis(call, shape.length));
    const rounded = () =>
      Float32Array.from(data, (value, i) => {
        const [scale, zero] = [grid.scale[grid.at(i)] ?? 1, grid.zero?.[grid.at(i)] ?? 0];
        return (Math.min(Math.max(toEven(value / scale) + zero, low), high) - zero) * scale;
      });
    call.setOutput(addConstant(call, shape, rounded));
    return;
  }
  const {data: scale} = neededConstant(call, 1);
  const zero = call.has(2) ? neededConstant(call, 2).data : [0];
  if (scale.length !== 1) {
    call.refuse('The node has scales for each part of what is computed.');
  }
  const bound = (end: number) => call.scalar((end - (zero[0] ?? 0)) * (scale[0] ?? 1));
  const above = await call.emit('Maximum', [call.key(0), bound(low)]);
  call.setOutput(await call.emit('Minimum', [above, bound(high)]), call.perm());
};

/** Rounds to the nearest integer, halves to even. */
function toEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Passes floats on, with scale 1 and zero point 0. */
export const dynamicQuantize: Rule = call => {
  call.setOutput(call.key(0), call.perm());
  call.lowering.setOutput(call.node.name, 1, call.scalar(1));
  call.lowering.setOutput(call.node.name, 2, call.scalar(0, 'int32'));
};

/** Integers of a constant as floats, with one zero point and scale or one for each index of an axis. */
function centered(call: OnnxCall, [index, zero]: readonly number[], axis: number, scale: readonly number[]): string {
  const {data, shape} = neededConstant(call, index as number);
  const [count, inner] = [shape[axis] ?? 1, sizeOf(shape.slice(axis + 1))];
  const zeros = call.has(zero as number) ? neededConstant(call, zero as number).data : [0];
  return addConstant(call, shape, () =>
    Float32Array.from({length: data.length}, (_, i) => {
      const channel = Math.floor(i / inner) % count;
      const from = zeros[zeros.length === 1 ? 0 : channel] ?? 0;
      return ((data[i] ?? 0) - from) * (scale[scale.length === 1 ? 0 : channel] ?? 1);
    }),
  );
}

/** The product to write back for an integer operation whose input DynamicQuantizeLinear quantizes from floats. */
function dynamicProduct(call: OnnxCall, absorbed: readonly GraphNode[]): QuantizedProduct | undefined {
  const maker = call.lowering.file.nodes.get(call.key(0).replace(/:\d+$/, ''));
  const nodes = [call.node, ...absorbed].map(({name}) => name);
  return maker?.op === 'DynamicQuantizeLinear' && absorbed.length > 0 ? {nodes, x: maker.inputs[0] ?? ''} : undefined;
}

/** The product to write back for an operation whose input and output are integers. */
function integerProduct({node, proto: {inputs}}: OnnxCall): QuantizedProduct {
  return {nodes: [node.name], x: inputs[0] ?? '', input: inputs.slice(1, 3), output: inputs.slice(6, 8)};
}

/** An activation as floats, with its zero point subtracted if it holds integers. */
async function integersAsFloats(call: OnnxCall, index: number, zero: number): Promise<string> {
  if (call.dtype(index) === 'float32') {
    return call.input(index);
  }
  const floats = await cast(call, await call.input(index), 'DT_FLOAT');
  return call.has(zero) ? call.emit('Sub', [floats, await cast(call, await call.input(zero), 'DT_FLOAT')]) : floats;
}

export const matMulInteger: Rule = async call => {
  const x = await integersAsFloats(call, 0, 2);
  const units = call.size(1, 1);
  if (call.rank(1) !== 2 || units === undefined || call.value(1).kind !== 'constant') {
    await stackProduct(call, [x, await integersAsFloats(call, 1, 3)]);
    return;
  }
  const behind = scaleBehind(call);
  const fits = behind !== undefined && [1, units].includes(behind.numbers.length);
  const kernel = centered(call, [1, 3], 1, fits ? behind.numbers : [1]);
  const absorbed = fits ? behind.absorbed : [];
  const product = dynamicProduct(call, absorbed);
  if (product !== undefined) {
    call.lowering.quantized.set(kernel, product);
  }
  dense(call, x, kernel, units, {absorbed});
};

/** Plans a float convolution that replaces an integer one. */
async function planFloatConv(
  call: OnnxCall,
  [x, kernel, bias]: readonly [string, string, string?],
  product: QuantizedProduct | undefined,
  absorbed: readonly GraphNode[] = [],
): Promise<void> {
  const {lowering: low, proto} = call;
  const node = {
    name: low.freshName(call.node.name),
    op: 'Conv',
    input: [x, kernel, ...(bias === undefined ? [] : [bias])],
  };
  const attributes = call.attributes();
  low.addNode(node, {...proto, op: 'Conv', domain: '', inputs: node.input, outputs: [], attributes});
  low.convolutions.set(node.name, product);
  const inner = new OnnxCall(low, node);
  await conv(inner);
  call.setOutput(node.name, low.permOf(call.planner.valueOf(node.name), call.rank()), absorbed);
}

export const convInteger: Rule = async call => {
  if (call.dtype() !== 'float32') {
    call.refuse('The node takes integers.');
  }
  const behind = scaleBehind(call);
  const channels = call.size(1, 0);
  const axes = [...new Array<number>(call.rank(1)).fill(1), ...(behind?.shape ?? [])].slice(-call.rank(1));
  const isOfChannels = behind?.numbers.length === channels && axes[1] === channels;
  const fits = behind !== undefined && (behind.numbers.length === 1 || isOfChannels);
  const absorbed = fits ? behind.absorbed : [];
  const kernel = centered(call, [1, 3], 0, fits ? behind.numbers : [1]);
  await planFloatConv(call, [call.key(0), kernel], dynamicProduct(call, absorbed), absorbed);
};

export const qLinearConv: Rule = async call => {
  const x = await inputAsFloats(call, 0);
  const {data, shape} = neededConstant(call, 3);
  const grid = gridOf(call, shape, [4, 5], 0);
  const kernel = addConstant(call, shape, () => dequantized(data, grid));
  const [scale] = [...Array.from(neededConstant(call, 1).data)];
  const added = call.has(8) ? neededConstant(call, 8).data : undefined;
  const bias = added && {data: Array.from(added), scales: Array.from(grid.scale)};
  const floats =
    bias &&
    addConstant(call, [bias.data.length], () =>
      Float32Array.from(bias.data, (value, i) => {
        return value * (scale ?? 1) * (bias.scales[bias.scales.length === 1 ? 0 : i] ?? 1);
      }),
    );
  await planFloatConv(call, [x, kernel, floats], integerProduct(call));
  await clipToIntegerRange(call, 6);
};

export const qLinearMatMul: Rule = async call => {
  const [x, {data, shape}] = [await inputAsFloats(call, 0), neededConstant(call, 3)];
  const grid = gridOf(call, shape, [4, 5], shape.length - 1);
  const kernel = addConstant(call, shape, () => dequantized(data, grid));
  const units = shape.length === 2 ? shape[1] : undefined;
  call.lowering.quantized.set(kernel, integerProduct(call));
  dense(call, x, kernel, units ?? call.refuse(`The node multiplies by a tensor of ${shape.length} axes.`), {
    absorbed: [],
    fusesNothing: true,
  });
  await clipToIntegerRange(call, 6);
};

/** An input as floats, dequantized if it holds integers. Its scale and zero point are the next two inputs. */
async function inputAsFloats(call: OnnxCall, index: number): Promise<string> {
  if (call.dtype(index) === 'float32') {
    return call.input(index);
  }
  return call.emit('Mul', [await integersAsFloats(call, index, index + 2), await call.input(index + 1)]);
}

/** Clips the output of a node to the range of its integers. */
async function clipToIntegerRange(call: OnnxCall, scaleIndex: number): Promise<void> {
  const [scale = 1] = Array.from(neededConstant(call, scaleIndex).data);
  const [zero = 0] = Array.from(neededConstant(call, scaleIndex + 1).data);
  const type = call.lowering.file.tensors.get(call.key(scaleIndex + 1))?.type ?? 2;
  const [low, high] = RANGES[type] ?? [0, 255];
  const key = `${call.node.name}:0`;
  const perm = call.lowering.permOf(call.planner.valueOf(key), call.rankOf(key));
  const above = await call.emit('Maximum', [key, call.scalar((low - zero) * scale)]);
  call.setOutput(await call.emit('Minimum', [above, call.scalar((high - zero) * scale)]), perm);
}

/** MatMulNBits of com.microsoft: a product with a matrix in blocks of 4 or 8 bits, a row for each output. */
export const matMulNBits: Rule = async call => {
  const sizes = nBitsSizes((name, fallback) => call.int(name, fallback));
  const {bits, width, units} = sizes;
  if ((bits !== 4 && bits !== 8) || call.has(4)) {
    call.refuse(bits === 4 || bits === 8 ? 'The node has reordered groups.' : `The node is of ${bits} bits.`);
  }
  const {data: packed} = neededConstant(call, 1);
  const {data: scales} = neededConstant(call, 2);
  const zeros = call.has(3) ? neededConstant(call, 3).data : undefined;
  if (!nBitsFit(sizes, packed.length, scales.length)) {
    call.refuse(`The node has a different number of values than ${units} rows of ${width} need.`);
  }
  const hasFloatZeros = call.has(3) && call.dtype(3) === 'float32';
  const matrix = new NBitsMatrix(sizes, {packed, scales, zeros, hasFloatZeros});
  const x = await call.input();
  call.floats();
  const bias = call.bias(5);
  const product = {nodes: [call.node.name], x: call.proto.inputs[0] ?? '', bias: call.proto.inputs[5] || undefined};
  const {format} = matrix;
  if (format !== undefined) {
    const size = Math.ceil((units * (width / 32) * (bits === 4 ? 18 : 34)) / 4);
    const packedBlocks = addConstant(call, [size], () => matrix.words(), true);
    call.lowering.quantized.set(packedBlocks, product);
    dense(call, x, packedBlocks, units, {
      ...{absorbed: [], bias},
      className: QuantizedDense.className,
      config: {blocks: {name: format}},
      weight: 'blocks',
    });
    return;
  }
  const kernel = addConstant(call, [width, units], () => {
    const result = new Float32Array(width * units);
    for (let row = 0; row < units; row++) {
      for (let at = 0; at < width; at++) {
        result[at * units + row] = matrix.weight(row, at);
      }
    }
    return result;
  });
  call.lowering.quantized.set(kernel, product);
  dense(call, x, kernel, units, {absorbed: [], bias});
};
