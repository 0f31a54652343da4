import {reshape, sizeOf, toTorch, transpose, type Values} from '../../../src/platform/formats/layout';

/** 0, 1, 2, … in a shape. */
function counted(...shape: number[]): Values {
  return {shape, data: Float32Array.from({length: sizeOf(shape)}, (_, i) => i)};
}

test.each([
  [[], 1],
  [[3], 3],
  [[2, 3, 4], 24],
  [[2, 0], 0],
])('a tensor of shape %j has %d values', (shape, size) => {
  expect(sizeOf(shape)).toBe(size);
});

test.each([
  [
    [2, 3],
    [1, 0],
    [3, 2],
    [0, 3, 1, 4, 2, 5],
  ],
  [
    [2, 3],
    [0, 1],
    [2, 3],
    [0, 1, 2, 3, 4, 5],
  ],
  // x[i, j, k] = 6i + 2j + k, at [k, i, j].
  [
    [2, 3, 2],
    [2, 0, 1],
    [2, 2, 3],
    [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11],
  ],
  [
    [1, 3, 1],
    [2, 1, 0],
    [1, 3, 1],
    [0, 1, 2],
  ],
  [[4], [0], [4], [0, 1, 2, 3]],
])('axes of %j in the order %j give %j: %j', (shape, order, newShape, data) => {
  expect(transpose(counted(...shape), order)).toEqual({shape: newShape, data: Float32Array.from(data)});
});

test.each([
  [[3], [3], [0, 1, 2]],
  [
    [2, 3],
    [3, 2],
    [0, 3, 1, 4, 2, 5],
  ],
  // [space, in, out] → [out, in, space]: x[s, i, o] = 4s + 2i + o.
  [
    [2, 2, 2],
    [2, 2, 2],
    [0, 4, 2, 6, 1, 5, 3, 7],
  ],
  // [height, width, in, out] → [out, in, height, width].
  [
    [1, 2, 1, 3],
    [3, 1, 1, 2],
    [0, 3, 1, 4, 2, 5],
  ],
])('a weight of shape %j is of shape %j in PyTorch', (shape, newShape, data) => {
  expect(toTorch(counted(...shape))).toEqual({shape: newShape, data: Float32Array.from(data)});
});

test('the same values in another shape stay in their order', () => {
  const values = counted(2, 3);
  expect(reshape(values, [3, 2])).toEqual({shape: [3, 2], data: values.data});
});
