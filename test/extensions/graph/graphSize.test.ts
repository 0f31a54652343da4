import type {GraphAttribute} from '../../../src/extensions/graph/graphDef';
import {largestOutput, type SizedInput} from '../../../src/extensions/graph/graphSize';

/** A tensor whose numbers are not known. */
const shaped = (...shape: number[]): SizedInput => ({shape});
/** A list of known numbers. */
const list = (...values: number[]): SizedInput => ({shape: [values.length], values});
/** A known number. */
const scalar = (value: number): SizedInput => ({shape: [], values: [value]});
const text = (value: string): GraphAttribute => ({s: btoa(value)});

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
