import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {useBackend} from '../helpers';
import {expectAgreement} from './agreement';

interface Case {
  countA: number;
  countB: number;
  m: number;
  k: number;
  n: number;
  transposeA: boolean;
  transposeB: boolean;
}

function operands({countA, countB, m, k, n, transposeA, transposeB}: Case): [tf.Tensor3D, tf.Tensor3D] {
  return [
    tf.randomNormal(transposeA ? [countA, k, m] : [countA, m, k], 0, 1, 'float32', 1),
    tf.randomNormal(transposeB ? [countB, n, k] : [countB, k, n], 0, 1, 'float32', 2),
  ];
}

const product = (c: Case) => () => [tf.matMul(...operands(c), c.transposeA, c.transposeB)];

const fusedProduct = (c: Case, activation: tf.fused.Activation) => () => {
  const [a, b] = operands(c);
  const bias = tf.randomNormal<tf.Rank.R1>([c.n], 0, 1, 'float32', 3);
  const {transposeA, transposeB} = c;
  return [tf.fused.matMul({a, b, transposeA, transposeB, bias, activation})];
};

const size = fc.oneof(fc.integer({min: 1, max: 9}), fc.integer({min: 20, max: 70}));
const cases = fc
  .record({
    countA: fc.integer({min: 1, max: 3}),
    countB: fc.integer({min: 1, max: 3}),
    m: size,
    k: size,
    n: size,
    transposeA: fc.boolean(),
    transposeB: fc.boolean(),
  })
  .filter(({countA, countB}) => countA === countB || countA === 1 || countB === 1);

test('matMul agrees with cpu, transposed or not, one matrix or several', async () => {
  await fc.assert(
    fc.asyncProperty(cases, c => expectAgreement(product(c))),
    {numRuns: 150},
  );
});

test('fused.matMul agrees with cpu, transposed or not, one matrix or several', async () => {
  const activations = fc.constantFrom<tf.fused.Activation[]>('linear', 'relu', 'sigmoid');
  await fc.assert(
    fc.asyncProperty(
      cases.filter(({countA, countB}) => countA === countB),
      activations,
      (c, activation) => expectAgreement(fusedProduct(c, activation)),
    ),
    {numRuns: 100},
  );
});

test.each([
  [64, 300, 300],
  [300, 64, 300],
  [300, 300, 64],
  [12, 3100, 40],
  [40, 3001, 12],
])('matMul agrees with cpu for m = %i, k = %i, n = %i', async (m, k, n) => {
  for (const transposeA of [false, true]) {
    for (const transposeB of [false, true]) {
      await expectAgreement(product({countA: 1, countB: 1, m, k, n, transposeA, transposeB}));
    }
  }
});

test('matrices of rank 4 keep their outer axes', () =>
  expectAgreement(() => {
    const a = tf.randomNormal([2, 3, 40, 30], 0, 1, 'float32', 1);
    const b = tf.randomNormal([2, 3, 40, 30], 0, 1, 'float32', 2);
    return [tf.matMul(a, b, false, true), tf.matMul(a, b, true)];
  }));

test('one tensor can be multiplied in two shapes', () =>
  expectAgreement(() => {
    const b = tf.randomNormal<tf.Rank.R2>([3, 8], 0, 1, 'float32', 1);
    const turned = tf.reshape<tf.Rank.R2>(b, [8, 3]);
    return [
      tf.matMul(tf.ones<tf.Rank.R2>([2, 3]), b),
      tf.matMul(tf.ones<tf.Rank.R2>([2, 8]), turned),
      tf.matMul(tf.ones<tf.Rank.R2>([2, 3]), b),
    ];
  }));

test('the gradients of a product agree with cpu', () =>
  expectAgreement(() => {
    const x = tf.randomNormal<tf.Rank.R2>([40, 60], 0, 1, 'float32', 1);
    const w = tf.randomNormal<tf.Rank.R2>([60, 50], 0, 1, 'float32', 2);
    return tf.grads((a, b) => tf.square(tf.matMul(a, b)))([x, w]);
  }));

test('outer axes are broadcast as on cpu', () =>
  expectAgreement(() => {
    const matrix = tf.randomNormal([4, 5], 0, 1, 'float32', 1);
    const batch = tf.randomNormal([1, 5, 3], 0, 1, 'float32', 2);
    const column = tf.randomNormal([2, 1, 4, 5], 0, 1, 'float32', 3);
    const row = tf.randomNormal([1, 2, 5, 3], 0, 1, 'float32', 4);
    return [tf.matMul(matrix, batch), tf.matMul(column, batch), tf.matMul(matrix, row), tf.matMul(column, row)];
  }));

test.each<[a: number[], b: number[], transposeA: boolean, transposeB: boolean, sizes: [number, number]]>([
  [[2, 3], [4, 5], false, false, [3, 4]],
  [[2, 3], [4, 5], true, false, [2, 4]],
  [[2, 3], [4, 5], false, true, [3, 5]],
  [[2, 2, 9], [2, 5, 3], false, false, [9, 5]],
  [[3, 2], [2, 3, 2], false, false, [2, 3]],
  [[2, 2, 4], [2, 5, 3], false, true, [4, 3]],
  [[2, 4, 2], [2, 5, 3], true, false, [4, 5]],
  [[1, 2, 4], [3, 2, 3], true, true, [2, 3]],
  [[2, 3, 4, 2], [2, 3, 3, 2], false, false, [2, 3]],
  [[2, 0], [3, 2], false, false, [0, 3]],
  [[2, 4], [2, 0, 3], false, false, [4, 0]],
])('the product of %j and %j (transposed: %s, %s) is refused in the words of tfjs', async (a, b, ofA, ofB, [m, n]) => {
  await useBackend('wasm');
  expect(() => tf.matMul(tf.zeros(a), tf.zeros(b), ofA, ofB)).toThrow(
    `Error in matMul: inner shapes (${m}) and (${n}) of Tensors with shapes ${String(a)} and ${String(b)} and ` +
      `transposeA=${ofA} and transposeB=${ofB} must match.`,
  );
});

test('a vector is no matrix, and whole numbers have no product on wasm', async () => {
  await useBackend('wasm');
  expect(() => tf.matMul(tf.ones([3]), tf.ones([3, 2]))).toThrow();
  const ints = (...shape: number[]) => tf.zeros(shape, 'int32');
  expect(() => tf.matMul(ints(2, 3), ints(3, 2))).toThrow('non-float32');
  expect(() => tf.matMul(ints(2, 0), ints(0, 2))).toThrow('non-float32');
});

test.each<[a: number[], b: number[], outer: number[]]>([
  [
    [2, 4, 3],
    [1, 2, 5, 3],
    [1, 2],
  ],
  [[1, 4, 3], [5, 3], [1]],
  [
    [4, 3],
    [1, 1, 5, 3],
    [1, 1],
  ],
])('the product of %j and %j, transposed, has the outer axes of both', async (a, b, outer) => {
  await useBackend('wasm');
  expect(tf.matMul(tf.ones(a), tf.ones(b), false, true).shape).toEqual([...outer, 4, 5]);
});

test('the activation of an empty sum is that of its bias', async () => {
  await useBackend('wasm');
  const [a, b] = [tf.zeros<tf.Rank.R2>([1, 0]), tf.zeros<tf.Rank.R2>([0, 2])];
  expect(tf.fused.matMul({a, b, activation: 'sigmoid'}).dataSync()).toBeAllClose([0.5, 0.5]);
  const biased = tf.fused.matMul({a, b, bias: tf.tensor1d([-1, 2]), activation: 'relu'});
  expect(biased.dataSync()).toBeAllClose([0, 2]);
});

test.each(['linear', 'relu', 'relu6', 'elu', 'sigmoid', 'leakyrelu', 'prelu'] as const)(
  'a bias of several axes, with %s, is added as on cpu',
  activation =>
    expectAgreement(() => {
      const [a, b] = operands({countA: 2, countB: 2, m: 4, k: 30, n: 5, transposeA: false, transposeB: true});
      const alpha = activation === 'prelu' && {preluActivationWeights: tf.tensor1d([0.1, 0.2, 0.3, 0.4, 0.5])};
      return [
        [1, 5],
        [4, 5],
        [4, 1],
        [2, 4, 5],
        [2, 1, 5],
      ].map(shape => {
        const bias = tf.randomNormal(shape, 0, 1, 'float32', 3);
        return tf.fused.matMul({a, b, transposeB: true, bias, activation, leakyreluAlpha: 0.3, ...alpha});
      });
    }),
);

test.each([
  [[5, 1], false],
  [[5, 1], true],
  [[2, 5, 1], false],
])('a column of biases %j is added to as many columns as on cpu', (shape, transposeB) =>
  expectAgreement(() => {
    const [a, b] = operands({countA: 2, countB: 2, m: 5, k: 3, n: 5, transposeA: false, transposeB});
    const bias = tf.randomNormal(shape, 0, 1, 'float32', 3);
    return [tf.fused.matMul({a, b, transposeB, bias, activation: 'relu'}), tf.fused.matMul({a, b, transposeB, bias})];
  }),
);

test('a bias of one number is added to each column', async () => {
  await useBackend('wasm');
  const sums = tf.fused.matMul({a: tf.ones([5, 3]), b: tf.ones([3, 40]), bias: tf.tensor1d([2])});
  expect(new Set(sums.dataSync())).toEqual(new Set([5]));
});
