import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {useBackend, withoutLeaks} from '../helpers';
import {expectAgreement} from './agreement';

const DTYPES = ['float32', 'int32', 'bool'] as const;

/** 0, 1, 2, … in `shape`; as booleans false, true, false, …. */
function counting(shape: number[], dtype: tf.DataType = 'float32'): tf.Tensor {
  const numbers = tf.reshape(tf.range(0, tf.util.sizeFromShape(shape)), shape);
  return tf.cast(dtype === 'bool' ? tf.mod(numbers, 2) : numbers, dtype);
}

const shapes = fc.array(fc.integer({min: 1, max: 12}), {minLength: 1, maxLength: 4});
const dtypes = fc.constantFrom(...DTYPES);

/** A shape, an axis of it and a dtype. */
const axes = fc
  .tuple(shapes, dtypes, fc.nat())
  .map(([shape, dtype, axis]) => ({shape, dtype, axis: axis % shape.length}));

function agrees<T>(name: string, inputs: fc.Arbitrary<T>, compute: (input: T) => tf.Tensor[]): void {
  test(`${name} agrees with cpu`, async () => {
    await fc.assert(
      fc.asyncProperty(inputs, input => expectAgreement(() => compute(input))),
      {numRuns: 60},
    );
  });
}

agrees(
  'slice',
  fc.tuple(shapes, dtypes, fc.array(fc.tuple(fc.nat(), fc.nat()), {minLength: 4, maxLength: 4})),
  ([shape, dtype, cuts]) => {
    const begin = shape.map((length, i) => cuts[i]![0] % length);
    const size = shape.map((length, i) => cuts[i]![1] % (length - begin[i]! + 1));
    return [tf.slice(counting(shape, dtype), begin, size)];
  },
);

agrees('split', axes, ({shape, dtype, axis}) => tf.split(counting(shape, dtype), shape[axis]!, axis));

agrees('unstack', axes, ({shape, dtype, axis}) => tf.unstack(counting(shape, dtype), axis));

agrees('concat', axes, ({shape, dtype, axis}) => {
  const longer = shape.map((length, i) => (i === axis ? length + 2 : length));
  return [tf.concat([counting(shape, dtype), counting(longer, dtype), counting(shape, dtype)], axis)];
});

agrees('gather', axes, ({shape, dtype, axis}) => [
  tf.gather(counting(shape, dtype), tf.tensor2d([[0, shape[axis]! - 1, 0]], [1, 3], 'int32'), axis),
]);

agrees(
  'gather with batch dimensions',
  fc.tuple(shapes, dtypes, fc.nat(), fc.nat(), fc.array(fc.nat(), {minLength: 12, maxLength: 12})),
  ([shape, dtype, along, batch, drawn]) => {
    const axis = along % shape.length;
    const batchDims = batch % (axis + 1);
    const places = [...shape.slice(0, batchDims), 3];
    const indices = Array.from({length: tf.util.sizeFromShape(places)}, (_, i) => drawn[i % 12]! % shape[axis]!);
    return [tf.gather(counting(shape, dtype), tf.tensor(indices, places, 'int32'), axis, batchDims)];
  },
);

agrees('reverse', axes, ({shape, dtype, axis}) => [
  tf.reverse(counting(shape, dtype), axis),
  tf.reverse(counting(shape, dtype)),
]);

agrees('tile', fc.tuple(shapes, dtypes, fc.array(fc.nat(3), {minLength: 4, maxLength: 4})), ([shape, dtype, reps]) => [
  tf.tile(counting(shape, dtype), reps.slice(0, shape.length)),
]);

agrees(
  'transpose',
  fc.tuple(
    fc.array(fc.constantFrom<number[]>(1, 2, 3, 16, 40, 128), {minLength: 2, maxLength: 4}),
    dtypes,
    fc.array(fc.nat(), {minLength: 4, maxLength: 4}),
  ),
  ([shape, dtype, keys]) => {
    const perm = shape.map((_, axis) => axis).sort((a, b) => keys[a]! - keys[b]!);
    return tf.util.sizeFromShape(shape) > 2e5 ? [] : [tf.transpose(counting(shape, dtype), perm)];
  },
);

test.each(DTYPES)('a tall matrix of %s is transposed', dtype =>
  expectAgreement(() => [
    tf.transpose(counting([480, 20], dtype)),
    tf.transpose(counting([3, 256, 17], dtype), [0, 2, 1]),
    tf.transpose(counting([2, 16, 24, 5, 4], dtype), [0, 3, 4, 1, 2]),
    tf.transpose(counting([257, 20], dtype)),
  ]),
);

test('strings are sliced and joined', async () => {
  await useBackend('wasm');
  await withoutLeaks(() => {
    const joined = tf.tidy(() => {
      const words = tf.tensor1d(['a', 'b', 'c']);
      return tf.concat([tf.slice(words, 1, 2), words]);
    });
    expect(joined.arraySync()).toEqual(['b', 'c', 'a', 'b', 'c']);
    joined.dispose();
  });
});

test('a gather or a slice beyond the end is refused', async () => {
  await useBackend('wasm');
  expect(() => tf.tidy(() => tf.gather(counting([2, 3]), [2]))).toThrow('not in [0, 1]');
  expect(() => tf.tidy(() => tf.slice(counting([2, 3]), [1, 0], [2, 3]))).toThrow('would overflow input.shape[0] (2)');
  expect(() => tf.tidy(() => tf.slice(counting([2, 3]), [1, 5]))).toThrow('got shape [1,-2]');
  expect(() => tf.tidy(() => tf.slice(counting([0, 3]), [0, 5]))).toThrow('got shape [0,-2]');
});

test('a clone shares the data of its tensor, and each is disposed by itself', () => {
  const x = tf.tensor1d([1, 2, 3]);
  const before = tf.memory().numDataBuffers;
  const clone = tf.clone(x);
  expect(tf.memory().numDataBuffers).toBe(before);
  x.dispose();
  expect(Array.from(clone.dataSync())).toEqual([1, 2, 3]);
  clone.dispose();
  expect(tf.memory().numDataBuffers).toBe(before - 1);
});

test('tensors of several dtypes are joined by their values, in the dtype of the first', async () => {
  await useBackend('wasm');
  const joined = tf.concat([tf.tensor1d([1.5]), tf.tensor1d([2, 3], 'int32'), tf.tensor1d([1, 0], 'bool')]);
  expect(joined.dtype).toBe('float32');
  expect(Array.from(joined.dataSync())).toEqual([1.5, 2, 3, 1, 0]);
  const whole = tf.concat([tf.tensor2d([[7]], [1, 1], 'int32'), tf.tensor2d([[2.5, -1.5]])], 1);
  expect(whole.dtype).toBe('int32');
  expect(Array.from(whole.dataSync())).toEqual([7, 2, -1]);
});

test('an axis that is named twice is reversed twice, as on cpu', () =>
  expectAgreement(() => {
    const x = counting([2, 3, 4]);
    return [tf.reverse(x, [0, 0]), tf.reverse(x, [1, -2, 1]), tf.reverse(x, [2, 0, 2])];
  }));

test('what is reversed along no axis stays as it is, and is written nowhere else', () =>
  expectAgreement(() => {
    const x = counting([40, 30, 9], 'bool');
    return [tf.reverse(x, []), tf.reverse(x, [1, 1]), tf.reverse(tf.zeros([2, 0]), [0])];
  }));
