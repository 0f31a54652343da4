import * as tf from '@tensorflow/tfjs';
import {registerGraphGradients} from '../../../../src/extensions/graph/gradients/graphGradients';
import {einsumByProducts} from '../../../../src/extensions/graph/gradients/einsum';
import {BACKENDS, numbers, random, useBackend} from '../../../helpers';

registerGraphGradients();

/** The gradient of Σ f(x)·w by central differences, with random w, computed on cpu. */
async function byDifferences(f: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor): Promise<number[]> {
  await useBackend('cpu');
  const values = numbers(x);
  const at = (i: number, step: number) =>
    tf.tidy(() => {
      const moved = values.map((value, j) => (i === j ? value + step : value));
      return weighted(f(tf.tensor(moved, x.shape))).dataSync()[0]!;
    });
  const step = 2 ** -6;
  return values.map((_, i) => (at(i, step) - at(i, -step)) / (2 * step));
}

function weighted(y: tf.Tensor): tf.Scalar {
  return tf.sum(tf.mul(y, random(y.shape as [number, number], 77)));
}

const ints = (values: number[], shape?: number[]) => tf.tensor(values, shape ?? [values.length], 'int32');
const x1 = () => random([5], 1);
const x2 = () => random([4, 6], 1);
const oblong = () => random([2, 2, 4, 3], 1);
const x4 = () => random([2, 4, 4, 4], 1);

/**
 * Within the image, turned around, and beyond it; no pixel of a crop comes to lie near one of an image, or its edge.
 */
const owners = () => tf.tensor1d([1, 0, 1], 'int32');
const boxes = () => tf.tensor2d([0.05, 0.1, 0.8, 0.95, 0.9, 0.7, 0.15, 0.05, -0.4, 0.2, 0.55, 1.3], [3, 4]);

// Each is piecewise linear, or smooth enough for differences of 2^-6.
type GradientCase = [name: string, x: () => tf.Tensor, f: (x: tf.Tensor) => tf.Tensor];
const CASES: GradientCase[] = [
  ['StridedSlice with steps', x2, x => tf.stridedSlice(x, [0, 1], [4, 6], [2, 3])],
  ['StridedSlice backwards', x2, x => tf.stridedSlice(x, [3, 5], [0, 0], [-1, -2])],
  ['StridedSlice that drops an axis', x2, x => tf.stridedSlice(x, [1, 0], [2, 6], [1, 1], 0, 0, 0, 0, 1)],
  ['StridedSlice with an ellipsis', x4, x => tf.stridedSlice(x, [0, 1], [0, 3], [1, 2], 0, 0, 1)],
  ['StridedSlice of nothing', x2, x => tf.stridedSlice(x, [2, 2], [2, 4], [1, 1])],
  ['DepthToSpace', x4, x => tf.depthToSpace(x as tf.Tensor4D, 2)],
  ['GatherNd', x2, x => tf.gatherND(x, ints([0, 1, 3, 5, 0, 1], [3, 2]))],
  ['GatherV2 with a batch dimension', x4, x => tf.gather(x, ints([3, 0, 3, 1, 1, 2], [2, 3]), 2, 1)],
  [
    'GatherV2 with several batch dimensions',
    oblong,
    x => tf.gather(x, ints([3, 0, 3, 1, 1, 2, 0, 0], [2, 2, 2]), 2, 2),
  ],
  [
    'GatherV2 whose batch dimensions are all others',
    () => random([2, 3, 4], 1),
    x => tf.gather(x, ints([3, 0, 3, 1, 1, 2, 0, 0, 3, 3, 2, 1], [2, 3, 2]), -1, 2),
  ],
  ['ScatterNd', x1, x => tf.scatterND(ints([4, 1, 7, 1, 0], [5, 1]), x, [9])],
  ['SparseToDense', x1, x => tf.sparseToDense(ints([0, 2, 4, 5, 8]), x, [9], 0)],
  [
    'SparseToDense in its default',
    () => random([], 1),
    x => tf.sparseToDense(ints([0, 2]), tf.tensor1d([1, 2]), [5], x as tf.Scalar),
  ],
  ['TensorScatterUpdate', x2, x => tf.tensorScatterUpdate(x, ints([2, 0], [2, 1]), random([2, 6], 3))],
  [
    'TensorScatterUpdate in its updates',
    x2,
    x => tf.tensorScatterUpdate(random([7, 6], 3), ints([2, 0, 6, 1], [4, 1]), x),
  ],
  // Far enough from each other that none overtakes another.
  ['TopK', () => tf.tensor2d([3, 1, 4, 0, 5, 9, 2, 6, 8, 7, 11, 10], [2, 6]), x => tf.topk(x, 3).values],
  ...[
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ].map(([exclusive, reverse]): GradientCase => [
    `Cumprod${exclusive ? ', exclusive' : ''}${reverse ? ', from the end' : ''}`,
    x2,
    x => tf.cumprod(x, 1, exclusive, reverse),
  ]),
  ['Cumprod along the first axis', x4, x => tf.cumprod(x, 0)],
  ['Cumprod of zeros', () => tf.tensor2d([2, 0, 3, 4, 0, 0, 5, 1], [2, 4]), x => tf.cumprod(x, 1)],
  ['CropAndResize', x4, x => tf.image.cropAndResize(x as tf.Tensor4D, boxes(), owners(), [3, 5])],
  ['CropAndResize to one pixel', x4, x => tf.image.cropAndResize(x as tf.Tensor4D, boxes(), owners(), [1, 1])],
  [
    'CropAndResize to the nearest',
    x4,
    x => tf.image.cropAndResize(x as tf.Tensor4D, boxes(), owners(), [3, 5], 'nearest'),
  ],
  [
    'CropAndResize in its boxes',
    boxes,
    x => tf.image.cropAndResize(x4() as tf.Tensor4D, x as tf.Tensor2D, owners(), [3, 5]),
  ],
  [
    'CropAndResize to one pixel, in its boxes',
    boxes,
    x => tf.image.cropAndResize(x4() as tf.Tensor4D, x as tf.Tensor2D, owners(), [1, 1]),
  ],
  ['divNoNan', x2, x => tf.divNoNan(x, tf.add(tf.square(x), 1))],
  ['a broadcast product', () => random([3, 4], 1), x => tf.matMul(random([2, 5, 3], 2), x)],
  ['a broadcast product, transposed', () => random([1, 4, 3], 1), x => tf.matMul(random([2, 5, 3], 2), x, false, true)],
  ['SquaredDifference', () => random([4, 1], 1), x => tf.squaredDifference(x, random([4, 6], 2))],
  ['Maximum', () => random([1, 6], 1), x => tf.maximum(x, random([4, 6], 2))],
  ['Minimum', () => random([6], 1), x => tf.minimum(random([4, 6], 2), x)],
  [
    'MirrorPad reflecting',
    x2,
    x =>
      tf.mirrorPad(
        x,
        [
          [1, 2],
          [3, 0],
        ],
        'reflect',
      ),
  ],
  [
    'MirrorPad symmetric',
    x2,
    x =>
      tf.mirrorPad(
        x,
        [
          [1, 2],
          [0, 6],
        ],
        'symmetric',
      ),
  ],
  ['ResizeBilinear by centres', x4, x => tf.image.resizeBilinear(x as tf.Tensor4D, [7, 9], false, true)],
  ['ResizeBilinear to a smaller one', x4, x => tf.image.resizeBilinear(x as tf.Tensor4D, [3, 2], false, true)],
  ['ResizeNearestNeighbor by centres', x4, x => tf.image.resizeNearestNeighbor(x as tf.Tensor4D, [6, 5], false, true)],
  ['AvgPool of windows beyond the image', x4, x => tf.avgPool(x as tf.Tensor4D, [2, 3], [2, 1], 'same')],
  ['AvgPool of windows within the image', x4, x => tf.avgPool(x as tf.Tensor4D, 2, 2, 'valid')],
  ['ResizeBilinear of an oblong image', oblong, x => tf.image.resizeBilinear(x as tf.Tensor4D, [4, 8])],
  [
    'ResizeBilinear of an oblong image, by corners',
    oblong,
    x => tf.image.resizeBilinear(x as tf.Tensor4D, [3, 7], true),
  ],
  ['ResizeNearestNeighbor of an oblong image', oblong, x => tf.image.resizeNearestNeighbor(x as tf.Tensor4D, [5, 8])],
  [
    'ResizeNearestNeighbor of an oblong image, by corners',
    oblong,
    x => tf.image.resizeNearestNeighbor(x as tf.Tensor4D, [5, 8], true),
  ],
  ['ResizeBilinear by corners', x4, x => tf.image.resizeBilinear(x as tf.Tensor4D, [7, 9], true, false)],
];

describe('the gradient agrees with differences for', () => {
  test.each(CASES)('%s', async (_, make, f) => {
    await useBackend('cpu');
    const x = make();
    const expected = await byDifferences(f, x);
    await useBackend('wasm');
    const gradient = tf.grad(z => weighted(f(z)))(make());
    expect(gradient.shape).toEqual(x.shape);
    expect(numbers(gradient)).toBeAllClose(expected, {atol: 1e-3, rtol: 1e-3});
  });

  test.each(EINSUMS())('Einsum %s', async (equation, shapes) => {
    await useBackend('cpu');
    const operands = shapes.map((shape, i) => random(shape as [number, number], i + 1));
    for (const [at, operand] of operands.entries()) {
      const f = (z: tf.Tensor) => tf.einsum(equation, ...operands.map((other, i) => (i === at ? z : other)));
      const expected = await byDifferences(f, operand);
      await useBackend('wasm');
      const gradient = tf.grad(z => weighted(f(z)))(operand);
      expect(numbers(gradient)).toBeAllClose(expected, {atol: 1e-3, rtol: 1e-3});
    }
  });
});

function EINSUMS(): [string, number[][]][] {
  return [
    [
      'ab,bc->ac',
      [
        [2, 3],
        [3, 4],
      ],
    ],
    [
      'abc,cde->abde',
      [
        [2, 3, 4],
        [4, 2, 3],
      ],
    ],
    [
      'aecd,abcd->acbe',
      [
        [2, 3, 2, 4],
        [2, 5, 2, 4],
      ],
    ],
    [
      'acbe,aecd->abcd',
      [
        [2, 3, 4, 5],
        [2, 5, 3, 2],
      ],
    ],
    ['abc->ca', [[2, 3, 4]]],
  ];
}

/** The formula of an Einsum, in plain loops over all its letters. */
function einsumByLoops(equation: string, operands: readonly tf.Tensor[]): number[] {
  const [left = '', result = ''] = equation.split('->');
  const names = left.split(',');
  const sizes = new Map(names.flatMap((name, i) => Array.from(name, (letter, j) => [letter, operands[i]!.shape[j]!])));
  const placeOf = (name: string, at: Record<string, number>) =>
    Array.from(name).reduce((place, letter) => place * sizes.get(letter)! + at[letter]!, 0);
  const sums = Array.from({length: Array.from(result).reduce((n, letter) => n * sizes.get(letter)!, 1)}, () => 0);
  const data = operands.map(numbers);
  const visit = ([letter, ...others]: string[], at: Record<string, number>) => {
    if (letter === undefined) {
      sums[placeOf(result, at)]! += names.reduce((factor, name, i) => factor * data[i]![placeOf(name, at)]!, 1);
      return;
    }
    for (let i = 0; i < sizes.get(letter)!; i++) {
      visit(others, {...at, [letter]: i});
    }
  };
  visit([...sizes.keys()], {});
  return sums;
}

test.each(EINSUMS())('Einsum %s by products follows the formula', async (equation, shapes) => {
  await useBackend('cpu');
  const operands = shapes.map((shape, i) => random(shape as [number, number], i + 1));
  expect(numbers(einsumByProducts(equation, operands))).toBeAllClose(einsumByLoops(equation, operands));
});

test('Einsum by products sums over what one operand alone has', async () => {
  await useBackend('cpu');
  const [a, b] = [
    tf.tensor2d([
      [1, 2],
      [3, 4],
    ]),
    tf.tensor2d([
      [1, 10],
      [2, 20],
    ]),
  ];
  expect(numbers(einsumByProducts('ab,cb->', [a, b]))).toEqual([4 * 3 + 6 * 30]);
  expect(numbers(einsumByProducts('ab,cb->c', [a, b]))).toEqual([4 + 60, 8 + 120]);
});

test.each(BACKENDS)('an Einsum on %s leaves nothing behind', async backend => {
  await useBackend(backend);
  const operands = [random([2, 3], 1), random([3, 4], 2)];
  const {numTensors} = tf.memory();
  tf.einsum('ab,bc->ac', ...operands).dispose();
  tf.einsum('ab->ab', operands[0]!).dispose();
  expect(tf.memory().numTensors).toBe(numTensors);
});

test('strings are sliced with steps, and truth values are counted, on cpu', async () => {
  await useBackend('cpu');
  expect(tf.stridedSlice(tf.tensor1d(['a', 'b', 'c', 'd']), [0], [4], [2]).dataSync()).toEqual(['a', 'c']);
  const counts = tf.einsum('ab,b->a', tf.ones([2, 3], 'bool'), tf.ones([3], 'bool'));
  expect(counts.dtype).toBe('int32');
  expect(numbers(counts)).toEqual([3, 3]);
});

test.each(BACKENDS)('an empty tensor has cumulative sums on %s', async backend => {
  await useBackend(backend);
  expect(tf.cumsum(tf.zeros([0, 9, 2]), -3).shape).toEqual([0, 9, 2]);
});

test.each(BACKENDS)('a tile that repeats nothing has a gradient of zero on %s', async backend => {
  await useBackend(backend);
  expect(numbers(tf.grad(x => tf.tile(x, [3, 0]))(tf.ones([2, 4])))).toEqual(Array(8).fill(0));
});
