import * as tf from '@tensorflow/tfjs';
import {pick, type Random} from '../damage';
import {
  anyAxes,
  anyAxis,
  anyOperand,
  bent,
  between,
  dtypeOf,
  type KernelCase,
  NUMBERS,
  type Operand,
  shapeOf,
  shuffled,
} from './case';

// Operations that move values, with arguments that tfjs may refuse.

type Family = (random: Random) => KernelCase;

const DTYPES = ['float32', 'float32', 'int32', 'bool', 'string'] as const;

type OfOne = (x: tf.Tensor) => tf.Tensor | tf.Tensor[];

/** A case of one tensor. */
const onOne =
  (
    name: string,
    make: (random: Random, shape: number[]) => [what: string, compute: OfOne, onCpu?: OfOne],
    dtypes: readonly Operand['dtype'][] = DTYPES,
  ): Family =>
  random => {
    const shape = shapeOf(random, random() < 0.05 ? 0 : between(random, 1, 5));
    const x = anyOperand(random, shape, dtypes);
    const [what, compute, onCpu] = make(random, shape);
    return {
      what: `${name} ${what} of ${dtypeOf(x)}`,
      operands: [x],
      compute: y => compute(y),
      ...(onCpu && {onCpu: y => onCpu(y)}),
      isOdd: true,
    };
  };

const slice = onOne('slice', (random, shape) => {
  const begin = bent(random, shape).map(length => between(random, random() < 0.05 ? -1 : 0, length));
  const counts = begin.map((from, i) =>
    random() < 0.2 ? -1 : between(random, 0, Math.max(0, (shape[i] ?? 1) - from)),
  );
  const size = pick(random, [undefined, counts, counts, counts]);
  return [`from ${String(begin)}, ${String(size)}`, x => tf.slice(x, begin, size)];
});

const split = onOne('split', (random, shape) => {
  const axis = anyAxis(random, shape.length);
  const length = shape.at(axis) ?? 1;
  const first = between(random, 0, length);
  const pieces = pick<number | number[]>(random, [between(random, 1, 4), length, [first, length - first], [first, -1]]);
  return [`in ${String(pieces)} along ${axis}`, x => tf.split(x, pieces, axis)];
});

const unstack = onOne('unstack', (random, shape) => {
  const axis = anyAxis(random, shape.length);
  return [`along ${axis}`, x => tf.unstack(x, axis)];
});

const reverse = onOne('reverse', (random, shape) => {
  const axes = pick(random, [undefined, anyAxis(random, shape.length), anyAxes(random, shape.length)]);
  return [`along ${String(axes)}`, x => tf.reverse(x, axes)];
});

const tile = onOne(
  'tile',
  (random, shape) => {
    const times = bent(
      random,
      shape.map(() => between(random, 0, 3)),
    );
    return [String(times), x => tf.tile(x, times)];
  },
  NUMBERS,
); // tfjs aborts for strings

const transpose = onOne('transpose', (random, shape) => {
  const order = shuffled(
    random,
    shape.map((_, i) => i),
  );
  // Axes that are named twice damage the memory of wasm.
  const shift = random() < 0.1 ? pick(random, [1, -shape.length]) : 0;
  const perm = random() < 0.1 ? undefined : order.map(axis => axis + shift);
  return [String(perm), x => tf.transpose(x, perm)];
});

/** Transposed in blocks on wasm. */
const largeTranspose: Family = random => {
  const shape = [between(random, 1, 2), pick(random, [256, 300, 320]), between(random, 14, 20)];
  const perm = pick(random, [
    [0, 2, 1],
    [2, 1, 0],
    [1, 2, 0],
    [2, 0, 1],
  ]);
  const x = anyOperand(random, shape, DTYPES);
  return {
    what: `transpose ${String(perm)} of ${dtypeOf(x)}`,
    operands: [x],
    compute: y => tf.transpose(y, perm),
    isOdd: true,
  };
};

const pad = onOne('pad', (random, shape) => {
  // With a negative one, stock tfjs writes to other places on cpu, and beyond its memory on wasm.
  const side = () => between(random, 0, 2);
  const margins = shape.map(() => [side(), side()] as [number, number]);
  const isImage = shape.length === 4 && random() < 0.6;
  const whole = isImage ? margins.map((pair, i): [number, number] => (i === 1 || i === 2 ? pair : [0, 0])) : margins;
  const value = pick(random, [0, 0, 1.5]);
  return [`${whole.join(' ')} with ${value}`, x => tf.pad(x, whole, value)];
});

const stridedSlices = onOne(
  'stridedSlice',
  (random, shape) => {
    const axes = bent(random, shape);
    const ends = () => axes.map(length => between(random, -length - 1, length + 1));
    const [begin, end] = [ends(), ends()];
    const strides = begin.map(() => (random() < 0.02 ? 0 : pick(random, [1, 1, 2, 3, -1, -2])));
    const mask = () => (random() < 0.3 ? between(random, 0, 2 ** shape.length - 1) : 0);
    const bit = () => (random() < 0.15 ? 2 ** between(random, 0, Math.max(0, shape.length - 1)) : 0);
    const masks = [mask(), mask(), bit(), bit(), mask()] as const;
    return [
      `from ${String(begin)} to ${String(end)} by ${String(strides)}, masks ${String(masks)}`,
      x => tf.stridedSlice(x, begin, end, strides, ...masks),
    ];
  },
  NUMBERS,
); // tfjs aborts for strings

const stridedSlice: Family = random => ({...stridedSlices(random), isCorrected: true});

const depthToSpace = onOne('depthToSpace', (random, shape) => {
  const format = random() < 0.7 ? 'NHWC' : 'NCHW';
  const block = between(random, 1, 3);
  const depth = format === 'NHWC' ? 3 : 1;
  const image = [0, 1, 2, 3].map(i => {
    const length = shape[i] ?? 1;
    return i === depth ? block ** 2 * (1 + (length % 3)) : length;
  }) as tf.Tensor4D['shape'];
  // Now and then the tensor itself, which may have other axes.
  const imagesOf = (x: tf.Tensor): tf.Tensor4D =>
    x.rank === 4 && x.shape[depth]! % 2 === 0 ? (x as tf.Tensor4D) : tf.cast(tf.fill<tf.Rank.R4>(image, 3), x.dtype);
  return [
    `by ${block}, ${format}`,
    x => tf.depthToSpace(imagesOf(x), block, format),
    // cpu takes channels-last images alone.
    format === 'NHWC'
      ? undefined
      : x => {
          const channelsLast = tf.transpose(imagesOf(x), [0, 2, 3, 1]);
          return tf.transpose(tf.depthToSpace(channelsLast, block), [0, 3, 1, 2]);
        },
  ];
});

const gather: Family = random => {
  const shape = shapeOf(random, between(random, 1, 4));
  const axis = anyAxis(random, shape.length);
  const length = shape.at(axis) ?? 1;
  const x = anyOperand(random, shape, DTYPES);
  const reach = random() < 0.1 ? 2 : 0;
  const indices: Operand = {shape: shapeOf(random, between(random, 0, 2)), below: Math.max(1, length + reach)};
  return {
    what: `gather along ${axis} of ${dtypeOf(x)}`,
    operands: [x, indices],
    compute: (from, places) => tf.gather(from, places, axis),
    isOdd: true,
  };
};

const segmentSum: Family = random => {
  const shape = shapeOf(random, between(random, 1, 3));
  // The others have no such kernel on wasm; that of cpu multiplies what is left out by 0.
  const x: Operand = {shape};
  const ids: Operand = {shape: shape.slice(0, 1), below: 7};
  const shift = pick(random, [0, 0, -1]);
  const count = between(random, 1, 8);
  return {
    what: `unsortedSegmentSum of ${dtypeOf(x)}, ${count}, ${shift}`,
    operands: [x, ids],
    compute: (rows, segments) => tf.unsortedSegmentSum(rows, tf.add(segments, tf.scalar(shift, 'int32')), count),
    isOdd: true,
    isReordered: true,
  };
};

const join: Family = random => {
  const shape = shapeOf(random, between(random, 1, 4));
  const axis = anyAxis(random, shape.length);
  const isStack = random() < 0.2;
  const isMixed = random() < 0.5;
  const dtype = pick(random, DTYPES);
  const operands = Array.from({length: between(random, 1, 4)}, () =>
    anyOperand(
      random,
      isStack
        ? bent(random, shape)
        : bent(
            random,
            shape.map((length, i) => (i === (axis + shape.length) % shape.length ? between(random, 0, 9) : length)),
          ),
      isMixed ? ['float32', 'int32', 'bool'] : [dtype],
    ),
  );
  return {
    what: `${isStack ? 'stack' : 'concat'} along ${axis} of ${operands.map(dtypeOf).join(', ')}`,
    operands,
    compute: (...tensors) => (isStack ? tf.stack(tensors, axis) : tf.concat(tensors, axis)),
    isOdd: true,
  };
};

/** Slices, joins, and other orders. */
export const ODD_ARRANGEMENTS: readonly Family[] = [
  ...[slice, split, unstack, reverse, tile, transpose, largeTranspose, pad, stridedSlice, depthToSpace],
  ...[gather, segmentSum, join, join],
];
