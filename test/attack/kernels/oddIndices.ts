import * as tf from '@tensorflow/tfjs';
import {pick, type Random} from '../damage';
import {anyOperand, bent, between, dtypeOf, type KernelCase, type Operand, shapeOf, some} from './case';

// Operations that read and write at indices, some of which are outside, and changes of dtype.

type Family = (random: Random) => KernelCase;

const odd = (what: string, operands: readonly Operand[], compute: KernelCase['compute']): KernelCase => ({
  what: `${what} of ${operands.map(dtypeOf).join(', ')}`,
  operands,
  compute,
  isOdd: true,
  isConstant: true,
});

/** Indices into the first axes of a shape, now and then beyond them, and below 0. */
function indexing(random: Random, shape: readonly number[], rows: number[]) {
  const depth = between(random, 1, shape.length);
  const reach = random() < 0.15 ? 1 : 0;
  const least = Math.min(...shape.slice(0, depth));
  const operand: Operand = {shape: [...rows, depth], below: Math.max(1, least + reach)};
  const shift = random() < 0.05 ? -1 : 0;
  const shifted = (places: tf.Tensor): tf.Tensor => (shift === 0 ? places : tf.add(places, tf.scalar(shift, 'int32')));
  return {operand, shifted, inner: shape.slice(depth), shift};
}

const gatherND: Family = random => {
  const shape = shapeOf(random, between(random, 1, 4));
  const {operand, shifted, shift} = indexing(random, shape, shapeOf(random, between(random, 0, 2)));
  return odd(`gatherND, ${shift}`, [anyOperand(random, shape), operand], (x, places) =>
    tf.gatherND(x, shifted(places)),
  );
};

const scatterND: Family = random => {
  const shape = shapeOf(random, between(random, 1, 3));
  const rows = [some(random)];
  const {operand, shifted, inner, shift} = indexing(random, shape, rows);
  const updates = anyOperand(random, bent(random, [...rows, ...inner]), ['float32', 'float32', 'int32']);
  return odd(`scatterND to ${String(shape)}, ${shift}`, [operand, updates], (places, values) =>
    tf.scatterND(shifted(places), values, shape),
  );
};

const scatterUpdate: Family = random => {
  const shape = shapeOf(random, between(random, 1, 3));
  const rows = [some(random)];
  const {operand, shifted, inner, shift} = indexing(random, shape, rows);
  const dtype = pick(random, ['float32', 'float32', 'int32'] as const);
  const operands = [anyOperand(random, shape, [dtype]), operand, anyOperand(random, [...rows, ...inner], [dtype])];
  return {
    ...odd(`tensorScatterUpdate, ${shift}`, operands, (x, places, values) =>
      tf.tensorScatterUpdate(x, shifted(places), values),
    ),
    timesWritten: (_, places, values) => tf.scatterND(shifted(places), tf.onesLike(values), shape),
  };
};

const sparseToDense: Family = random => {
  const shape = shapeOf(random, between(random, 1, 3));
  const count = some(random);
  const below = Math.max(1, Math.min(...shape) + (random() < 0.15 ? 1 : 0));
  const places = shape.length === 1 && random() < 0.5 ? [count] : [count, shape.length];
  const dtype = pick(random, ['float32', 'float32', 'int32'] as const);
  const operands: Operand[] = [
    {shape: places, below},
    anyOperand(random, random() < 0.3 ? [] : bent(random, [count]), [dtype]),
    anyOperand(random, [], [dtype]),
  ];
  return {
    ...odd(`sparseToDense to ${String(shape)}`, operands, (indices, values, others) =>
      tf.sparseToDense(indices, values, shape, others as tf.Scalar),
    ),
    timesWritten: indices => tf.scatterND(tf.reshape(indices, [count, -1]), tf.ones([count]), shape),
  };
};

const oneHot: Family = random => {
  const depth = between(random, 2, 9);
  const indices: Operand = {shape: shapeOf(random, between(random, 0, 3)), below: depth + between(random, 0, 2)};
  const [on, off] = pick<[number, number]>(random, [
    [1, 0],
    [1, 0],
    [3, -2],
  ]);
  const dtype = pick(random, ['float32', 'int32', 'bool', undefined] as const);
  return {
    ...odd(`oneHot of ${depth}, ${on}, ${off}, ${dtype}`, [indices], places =>
      tf.oneHot(places, depth, on, off, dtype),
    ),
    isCorrected: true,
  };
};

const cast: Family = random => {
  const to = pick(random, ['float32', 'int32', 'bool'] as const);
  const shape = shapeOf(random, between(random, 0, 4));
  const isLarge = random() < 0.3;
  const x: Operand = isLarge ? {shape, below: 1000} : anyOperand(random, shape);
  // An infinite float has no integer, and each backend has another one for it.
  const finite = to === 'int32' ? {...x, isSprinkled: false} : x;
  return odd(`cast to ${to}`, [finite], values => tf.cast(values, to));
};

const gatherBatches: Family = random => {
  const batch = shapeOf(random, between(random, 1, 2)).map(length => Math.min(length, 4));
  const shape = [...batch, ...shapeOf(random, between(random, 1, 2)).map(length => Math.min(length, 9))];
  const axis = between(random, batch.length, shape.length - 1);
  const length = shape[axis] as number;
  const indices: Operand = {
    shape: [...bent(random, batch), some(random)],
    below: Math.max(1, length + (random() < 0.1 ? 1 : 0)),
  };
  return {
    ...odd(`gather along ${axis}, ${batch.length} axes of batches`, [anyOperand(random, shape), indices], (x, places) =>
      tf.gather(x, places, axis, batch.length),
    ),
    isCorrected: true,
  };
};

/** Gathers, scatters, and changes of dtype. */
export const ODD_INDICES: readonly Family[] = [
  ...[gatherND, scatterND, scatterUpdate, sparseToDense, oneHot, cast, gatherBatches],
];
