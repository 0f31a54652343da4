import {readdirSync, readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import type {GraphAttribute} from '../../../../src/extensions/graph/graphDef';
import {graphOf, reasonNotToRun, runNode} from '../../../../src/extensions/graph/import/graphOp';
import type {SizedInput} from '../../../../src/extensions/graph/import/operation';
import {largestOutput, OPERATIONS, shapeByRule, stepsOf} from '../../../../src/extensions/graph/import/operations';

/** A tensor whose numbers are not known. */
const shaped = (...shape: number[]): SizedInput => ({shape});
/** A list of known numbers. */
const list = (...values: number[]): SizedInput => ({shape: [values.length], values});
/** A known number. */
const scalar = (value: number): SizedInput => ({shape: [], values: [value]});
const text = (value: string): GraphAttribute => ({s: btoa(value)});
const ints = (...i: number[]): GraphAttribute => ({list: {i}});

/** The operations that tfjs's executor computes, from its files. */
function operationsOfTfjs(): string[] {
  const folder = join(
    dirname(require.resolve('@tensorflow/tfjs-converter/package.json')),
    'dist',
    'operations',
    'op_list',
  );
  const texts = readdirSync(folder).filter(name => /^[a-z_]+\.js$/.test(name));
  const list = texts.flatMap(name => [...readFileSync(join(folder, name), 'utf8').matchAll(/'tfOpName': '(\w+)'/g)]);
  return list.map(([, op = '']) => op);
}

test('each operation that tfjs computes has a row, a constant or an input apart, unless no layer can compute it', () => {
  const ends = ['Const', 'Placeholder'];
  const list = operationsOfTfjs().filter(op => !ends.includes(op) && reasonNotToRun(op) === undefined);
  expect(list.length).toBeGreaterThan(150);
  expect(list.filter(op => !Object.hasOwn(OPERATIONS, op))).toEqual([]);
});

test('each row has a bound of the size and a rule for rows', () => {
  const rows = Object.values(OPERATIONS);
  expect(rows.filter(({size, rows: rule}) => typeof size !== 'function' || typeof rule !== 'function')).toEqual([]);
});

test('no operation that cannot be computed has a row', () => {
  expect(Object.keys(OPERATIONS).filter(op => reasonNotToRun(op) !== undefined)).toEqual([]);
});

test.each<[op: string, inputs: SizedInput[], attr: Record<string, GraphAttribute>, size: number]>([
  // [2, 3] + [4, 1, 3] is [4, 2, 3].
  ['Add', [shaped(2, 3), shaped(4, 1, 3)], {}, 24],
  ['Fill', [list(5, 6), scalar(1)], {}, 30],
  ['BroadcastTo', [shaped(1), list(7, 8)], {}, 56],
  ['Tile', [shaped(2, 3), list(2, 5)], {}, 60],
  // 1, 4, 7, 10.
  ['Range', [scalar(1), scalar(12), scalar(3)], {}, 4],
  ['Range', [scalar(5), scalar(1), scalar(2)], {}, 0],
  ['Range', [scalar(1), scalar(5), scalar(-1)], {}, 0],
  // tfjs gives 5, 4, 3, 2.
  ['Range', [scalar(5), scalar(1), scalar(1)], {}, 4],
  ['Range', [scalar(2), scalar(0), scalar(0.25)], {}, 8],
  ['LinSpace', [scalar(0), scalar(1), scalar(9)], {}, 9],
  ['OneHot', [shaped(3, 2), scalar(10)], {}, 60],
  // [2 + 1 + 0, 3 + 2 + 2].
  ['Pad', [shaped(2, 3), list(1, 0, 2, 2)], {}, 21],
  ['ResizeBilinear', [shaped(2, 4, 4, 3), list(8, 10)], {}, 480],
  ['CropAndResize', [shaped(2, 9, 9, 3), shaped(5, 4), shaped(5), list(2, 2)], {}, 60],
  ['ScatterNd', [shaped(3, 1), shaped(3, 4), list(9, 4)], {}, 36],
  ['SparseToDense', [shaped(3), list(20), shaped(3), scalar(0)], {}, 20],
  // Rows [2, 2] of a table [10, 4].
  ['GatherV2', [shaped(10, 4), shaped(2, 2), scalar(0)], {}, 16],
  ['GatherV2', [shaped(10, 4), shaped(3), scalar(-1)], {}, 30],
  // Two places, each of one number in the first axis, which leaves [4].
  ['GatherNd', [shaped(10, 4), shaped(2, 1)], {}, 8],
  ['ConcatV2', [shaped(2, 3), shaped(2, 4), scalar(1)], {}, 15],
  // Stride and padding can only make less of [1, 5, 5, 2].
  ['Conv2D', [shaped(1, 5, 5, 2), shaped(3, 3, 2, 8)], {data_format: text('NHWC')}, 200],
  ['Conv2D', [shaped(1, 2, 5, 5), shaped(3, 3, 2, 8)], {data_format: text('NCHW')}, 200],
  // [5 + 1 + 2, 5 + 3 + 4] pixels.
  [
    'Conv2D',
    [shaped(1, 5, 5, 2), shaped(3, 3, 2, 8)],
    {explicit_paddings: {list: {i: [0, 0, 1, 2, 3, 4, 0, 0]}}},
    8 * 12 * 8,
  ],
  ['DepthwiseConv2dNative', [shaped(1, 5, 5, 2), shaped(3, 3, 2, 3)], {}, 150],
  ['Conv2DBackpropInput', [list(1, 8, 8, 2), shaped(3, 3, 2, 4), shaped(1, 4, 4, 4)], {}, 128],
  ['MatMul', [shaped(2, 3), shaped(3, 5)], {}, 10],
  ['MatMul', [shaped(3, 2), shaped(5, 3)], {transpose_a: {b: true}, transpose_b: {b: true}}, 10],
  // Batches [4, 1] and [6] are [4, 6].
  ['BatchMatMulV2', [shaped(4, 1, 2, 3), shaped(6, 5, 3)], {adj_y: {b: true}}, 240],
  ['Einsum', [shaped(2, 3), shaped(3, 5)], {equation: text('ab,bc->ac')}, 10],
  // The attention of a ViT: 197 places ask 197 others in 12 heads of width 64.
  ['Einsum', [shaped(1, 197, 12, 64), shaped(1, 197, 12, 64)], {equation: text('aecd, abcd -> acbe')}, 12 * 197 * 197],
  ['Einsum', [shaped(2, 3, 4, 5), shaped(6, 3, 5, 7)], {equation: text('...ab,...bc->...ac')}, 6 * 3 * 4 * 7],
  ['Einsum', [shaped(2, 3, 4), shaped(4, 5)], {equation: text('...b,bc')}, 2 * 3 * 5],
  ['Einsum', [shaped(3, 4), shaped(4, 5)], {equation: text('ab,bc')}, 15],
  ['Einsum', [shaped(4, 4)], {equation: text('aa->a')}, 4],
  ['Einsum', [shaped(4, 4)], {equation: text('aa')}, 1],
  ['Einsum', [shaped(2, 3)], {equation: text('ab->')}, 1],
  // The first two give [1000, 2000], from which the third leaves one number.
  ['Einsum', [shaped(1000), shaped(2000), shaped(1000, 2000)], {equation: text('a,b,ab->')}, 2e6],
  ['DenseBincount', [shaped(3, 9), scalar(4)], {}, 12],
  // [2, 4 + 1 + 1, 3].
  ['SpaceToBatchND', [shaped(2, 4, 3), list(2), {shape: [1, 2], values: [1, 1]}], {}, 36],
  ['Reshape', [shaped(2, 3), list(6)], {}, 6],
  ['Ones', [list(5, 6)], {}, 30],
  ['Zeros', [list(5, 6)], {}, 30],
  // Two images of 8 × 9 pixels with three channels.
  ['ImageProjectiveTransformV3', [shaped(2, 4, 4, 3), shaped(1, 8), list(8, 9), scalar(0)], {}, 2 * 8 * 9 * 3],
  // More operands than there are inputs.
  ['Einsum', [shaped(2)], {equation: text('a,'.repeat(50_000))}, Infinity],
  ['Shape', [shaped(2, 3, 4)], {}, 3],
])('%s of %j with %j gives at most %d numbers', (op, inputs, attr, size) => {
  expect(largestOutput({name: 'n', op, attr}, inputs)).toBe(size);
});

test.each([
  ['Fill', [shaped(2), scalar(1)]],
  ['Tile', [shaped(2, 3), shaped(2)]],
  ['Range', [scalar(0), shaped(), scalar(1)]],
  ['Range', [scalar(0), scalar(0), scalar(0)]],
  ['OneHot', [shaped(3), shaped()]],
])('the size of a %s of %j is not known', (op, inputs) => {
  expect(largestOutput({name: 'n', op}, inputs)).toBeUndefined();
});

test('a range whose step is 0 has no end', () => {
  expect(largestOutput({name: 'n', op: 'Range'}, [scalar(0), scalar(1), scalar(0)])).toBe(Infinity);
});

test('an op that is called as a member of every object is taken as one that broadcasts', () => {
  expect(largestOutput({name: 'n', op: 'constructor'}, [shaped(2), shaped(3, 1)])).toBe(6);
});

test.each<[op: string, inputs: SizedInput[], attr: Record<string, GraphAttribute>, steps: number]>([
  // It reads 6 and 3 values and writes 6.
  ['Add', [shaped(2, 3), shaped(3)], {}, 6 + 3 + 6],
  // Reading, writing, and a sixteenth of 2 · 3 · 5 products.
  ['MatMul', [shaped(2, 3), shaped(3, 5)], {}, 6 + 15 + 10 + 30 / 16],
  ['BatchMatMulV2', [shaped(4, 3, 2), shaped(4, 3, 5)], {adj_x: {b: true}}, 24 + 60 + 40 + 120 / 16],
  // 3 · 3 · 2 · 8 products for each of 25 pixels, at most.
  ['Conv2D', [shaped(1, 5, 5, 2), shaped(3, 3, 2, 8)], {}, 50 + 144 + 200 + (25 * 144) / 16],
  ['DepthwiseConv2dNative', [shaped(1, 5, 5, 2), shaped(3, 3, 2, 1)], {}, 50 + 18 + 50 + (25 * 18) / 16],
  // 3 · 3 · 2 products for each of 64 values.
  [
    'Conv2DBackpropInput',
    [list(1, 8, 8, 2), shaped(3, 3, 2, 4), shaped(1, 4, 4, 4)],
    {},
    4 + 72 + 64 + 128 + (64 * 18) / 16,
  ],
  // A window of 30,000 × 30,000 is cut off to 25 pixels.
  ['AvgPool', [shaped(1, 5, 5, 2)], {ksize: ints(1, 30_000, 30_000, 1)}, 50 + 50 + (50 * 25) / 16],
  ['MaxPool', [shaped(1, 5, 5, 2)], {ksize: ints(1, 2, 2, 1)}, 50 + 50 + (50 * 4) / 16],
  // It copies 6 of 6 values, and 12 of 3 and of 1.
  ['Tile', [shaped(3), list(2)], {}, 3 + 1 + 6 + 2 * 6],
  ['BroadcastTo', [shaped(3), list(2, 3)], {}, 3 + 2 + 6 + 2 * 6],
  ['SelectV2', [shaped(4, 1), shaped(4, 3), shaped()], {}, 4 + 12 + 1 + 12 + 2 * (12 + 12)],
  // It sorts 15 values.
  ['TopKV2', [shaped(3, 5), scalar(2)], {k: {i: 2}}, 15 + 1 + 15 + 2 * 15],
  ['LRN', [shaped(1, 5, 5, 8)], {depth_radius: {i: 1e9}}, 200 + 200 + 200 * 8],
  ['FFT', [shaped(2, 7)], {}, 14 + 14 + 14 * 7],
  // tfjs multiplies [2, 3, 5] values and sums them.
  ['Einsum', [shaped(2, 3), shaped(3, 5)], {equation: {s: btoa('ab,bc->ac')}}, 6 + 15 + 10 + 30],
])('%s of %j with %j takes %d steps', (op, inputs, attr, steps) => {
  expect(stepsOf({name: 'n', op, attr}, inputs)).toBe(steps);
});

const floats = (...shape: number[]) => tf.zeros(shape);
const integers = (...values: number[]) => tf.tensor1d(values, 'int32');
const int = (value: number) => tf.scalar(value, 'int32');

/** A node of some inputs, their sizes, and what tfjs computes. */
function computed(op: string, tensors: readonly tf.Tensor[], attr: Record<string, GraphAttribute>) {
  const names = tensors.map((_, i) => `x${i}`);
  const node = {name: 'n', op, input: names, attr};
  const feed = Object.fromEntries(names.map((name, i) => [name, tensors[i]!]));
  const [result] = runNode(graphOf(node), {node, outputs: [{index: 0, dtype: 'float32'}]}, feed);
  const inputs = tensors.map(x => ({
    shape: x.shape,
    dtype: x.dtype,
    ...(x.dtype === 'int32' && {values: x.dataSync()}),
  }));
  return {node, inputs, result: result!};
}

test.each<[op: string, inputs: () => tf.Tensor[], attr?: Record<string, GraphAttribute>]>([
  ['AddV2', () => [floats(2, 1, 4), floats(3, 1)]],
  ['Mul', () => [floats(), floats(2, 3)]],
  ['Sigmoid', () => [floats(2, 3)]],
  ['Softmax', () => [floats(2, 3, 4)]],
  ['Pow', () => [floats(2, 3), floats(3)]],
  ['BatchMatMulV2', () => [floats(2, 3, 4), floats(4, 5)]],
  ['BatchMatMulV2', () => [floats(2, 4, 3), floats(2, 5, 4)], {adj_x: {b: true}, adj_y: {b: true}}],
  ['BroadcastTo', () => [floats(3, 1), integers(2, 3, 4)]],
  ['SelectV2', () => [tf.zeros([3, 1], 'bool'), floats(2, 1, 4), floats()]],
  ['Tile', () => [floats(2, 1, 3), integers(1, 4, 2)]],
  ['ConcatV2', () => [floats(2, 3, 4), floats(2, 5, 4), int(1)], {N: {i: 2}}],
  ['ConcatV2', () => [floats(2, 3), floats(2, 1), floats(2, 2), int(-1)], {N: {i: 3}}],
  ['Max', () => [floats(2, 3, 4), integers(0, -1)]],
  ['Mean', () => [floats(2, 3, 4), int(1)], {keep_dims: {b: true}}],
  ['Sum', () => [floats(2, 3), integers(0, 1)]],
  [
    'MirrorPad',
    () => [floats(1, 5, 5, 2), tf.tensor2d([0, 0, 1, 2, 2, 1, 0, 0], [4, 2], 'int32')],
    {mode: {s: btoa('REFLECT')}},
  ],
  ['PadV2', () => [floats(2, 3), tf.tensor2d([0, 1, 2, 3], [2, 2], 'int32'), tf.scalar(7)]],
  ['ResizeBilinear', () => [floats(2, 4, 5, 3), integers(8, 3)]],
  ['ResizeNearestNeighbor', () => [floats(2, 4, 5, 3), integers(8, 3)]],
  ['Transpose', () => [floats(2, 3, 4), integers(2, 0, 1)]],
])('the rule for %s gives the shape that tfjs computes', (op, inputs, attr = {}) => {
  const {node, inputs: sized, result} = computed(op, inputs(), attr);
  expect(['float32', shapeByRule(node, sized)]).toEqual([result.dtype, result.shape]);
});

const real = (...shape: number[]) => ({shape, dtype: 'float32' as const});
const whole = (shape: number[], ...values: number[]) => ({
  shape,
  dtype: 'int32' as const,
  ...(values.length > 0 && {values}),
});

test.each<[why: string, op: string, inputs: {shape: number[]; dtype: tf.DataType; values?: number[]}[]]>([
  ['integers', 'AddV2', [whole([2])]],
  ['integers that are known', 'AddV2', [real(2), whole([1], 1)]],
  ['axes that are not known', 'Sum', [real(2, 3), whole([1])]],
  ['more axes than every backend copies', 'Tile', [real(2, 1, 1, 1, 1), whole([5], 1, 2, 2, 1, 1)]],
  ['a shape that values do not broadcast to', 'BroadcastTo', [real(2, 3), whole([2], 2, 1)]],
  ['a choice between integers', 'SelectV2', [{shape: [2], dtype: 'bool'}, whole([2], 1, 2), whole([2], 1, 2)]],
  ['sizes that do not fit', 'BatchMatMulV2', [real(2, 3), real(2, 3)]],
  ['parts that do not fit', 'ConcatV2', [real(2, 3), real(3, 3), whole([], 1)]],
  ['an op without a rule', 'constructor', [real(2)]],
])('no rule tells the shape of %s', (_, op, inputs) => {
  expect(shapeByRule({name: 'n', op}, inputs)).toBeUndefined();
});

const image = () => floats(1, 4, 4, 2);
const ones = ints(1, 1, 1, 1);
const eighths: GraphAttribute = {list: {f: [1, 0.125, 0.125, 1]}};
const [same, valid] = [text('SAME'), text('VALID')];

test.each<[op: string, inputs: () => tf.Tensor[], attr?: Record<string, GraphAttribute>]>([
  ['Where', () => [tf.ones([2, 3], 'bool')]],
  ['LowerBound', () => [tf.tensor2d([[1, 2, 3]]), tf.tensor2d([[0, 1, 2, 3, 4]])]],
  ['ShapeN', () => [floats(2, 3), floats(2, 3, 4)], {N: {i: 2}}],
  ['BatchToSpaceND', () => [floats(4, 2, 2, 1), integers(2, 2), tf.zeros([2, 2], 'int32')]],
  ['SpaceToBatchND', () => [image(), integers(2, 2), tf.tensor2d([1, 1, 1, 1], [2, 2], 'int32')]],
  ['EuclideanNorm', () => [floats(2, 3), integers(1)]],
  ['MatrixBandPart', () => [floats(2, 3, 3), int(1), int(0)]],
  ['Dilation2D', () => [image(), floats(2, 2, 2)], {strides: ones, rates: ones, padding: same}],
  ['MaxPool', () => [image()], {ksize: ints(1, 2, 2, 1), strides: ones, padding: same}],
  // With strides below 1, an image of 4 × 4 pixels becomes one of 32 × 32, or of 17 × 17.
  ['MaxPool', () => [image()], {ksize: ints(1, 2, 2, 1), strides: eighths, padding: same}],
  ['AvgPool', () => [image()], {ksize: ints(1, 2, 2, 1), strides: eighths, padding: valid}],
  ['Conv2D', () => [image(), floats(2, 2, 2, 3)], {strides: eighths, dilations: ones, padding: same}],
  ['DepthwiseConv2dNative', () => [image(), floats(2, 2, 2, 3)], {strides: eighths, dilations: ones, padding: same}],
])('a %s returns no more values than its bound', (op, inputs, attr = {}) => {
  const {node, inputs: sized, result} = computed(op, inputs(), attr);
  expect(largestOutput(node, sized)).toBeGreaterThanOrEqual(result.size);
});

test('shapes that cannot be broadcast are an error, as in tfjs', () => {
  expect(() => shapeByRule({name: 'n', op: 'AddV2'}, [real(2), real(3)])).toThrow('could not be broadcast');
});
