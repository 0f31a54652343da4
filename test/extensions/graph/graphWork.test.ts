import type {GraphAttribute} from '../../../src/extensions/graph/graphDef';
import {stepsOf} from '../../../src/extensions/graph/graphWork';

const shaped = (...shape: number[]) => ({shape});
const scalar = (value: number) => ({shape: [], values: [value]});
const list = (...values: number[]) => ({shape: [values.length], values});
const ints = (...i: number[]): GraphAttribute => ({list: {i}});

test.each<[op: string, inputs: {shape: number[]}[], attr: Record<string, GraphAttribute>, steps: number]>([
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
