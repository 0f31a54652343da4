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
  some,
} from './case';

// Operations on values one by one, and over axes, with arguments that tfjs may refuse.

const named = (what: string, operands: readonly Operand[], compute: KernelCase['compute']): KernelCase => ({
  what: `${what} of ${operands.map(dtypeOf).join(', ')}`,
  operands,
  compute,
  isOdd: true,
});

const BINARY = [
  ...(['equal', 'notEqual', 'greater', 'greaterEqual', 'less', 'lessEqual', 'maximum', 'minimum', 'atan2'] as const),
  ...(['logicalAnd', 'logicalOr', 'pow', 'mod', 'floorDiv', 'add', 'prelu', 'squaredDifference'] as const),
];

/** Two shapes, one of which may be repeated along axes of the other. */
function shapesOfTwo(random: Random): [number[], number[]] {
  const whole =
    random() < 0.3 ? [between(random, 1, 40), between(random, 1, 20), 9] : shapeOf(random, some(random) % 5);
  const of = (shape: number[]) =>
    shape.map(length => (random() < 0.3 ? 1 : length)).slice(random() < 0.2 ? Math.floor(random() * shape.length) : 0);
  return [bent(random, of(whole)), of(whole)];
}

const binary = (random: Random): KernelCase => {
  const [a, b] = shapesOfTwo(random);
  const name = pick(random, BINARY);
  const dtypes = name.startsWith('logical') ? (['bool', 'bool', 'bool', 'float32'] as const) : NUMBERS;
  const operands = [anyOperand(random, a, dtypes), anyOperand(random, b, dtypes)];
  const compute = tf[name] as (x: tf.Tensor, y: tf.Tensor) => tf.Tensor;
  return {...named(name, operands, (x, y) => compute(x, y)), isConstant: true};
};

const bounded = (random: Random): KernelCase => {
  const x = anyOperand(random, shapeOf(random, some(random) % 5));
  const [low, high] = [2 * random() - 1, 2 * random() - 1];
  const bounds = random() < 0.8 ? ([Math.min(low, high), Math.max(low, high)] as const) : ([low, high] as const);
  const [name, compute] = pick<[string, (x: tf.Tensor) => tf.Tensor]>(random, [
    ['relu', tf.relu],
    ['relu6', tf.relu6],
    [`clipByValue ${bounds.join(' ')}`, y => tf.clipByValue(y, ...bounds)],
    ['clone', tf.clone],
  ]);
  return named(name, [x], compute);
};

const choice = (random: Random): KernelCase => {
  const [a, b] = shapesOfTwo(random);
  const condition = random() < 0.5 ? a : random() < 0.5 ? a.slice(0, 1) : shapesOfTwo(random)[0];
  const operands = [
    anyOperand(random, condition, ['bool', 'bool', 'bool', 'float32']),
    anyOperand(random, a),
    anyOperand(random, random() < 0.6 ? a : b),
  ];
  return named('where', operands, (c, x, y) => tf.where(c, x, y));
};

const reduction = (random: Random): KernelCase => {
  const rank = between(random, 0, 5);
  const shape = random() < 0.2 ? [between(random, 1, 70), between(random, 1, 30), 5] : shapeOf(random, rank);
  const several = anyAxes(random, shape.length);
  // Along an axis that is named twice, tfjs takes the values of other ones, and wasm those beyond its memory.
  const once = several.filter((axis, i) => several.findIndex(other => (other - axis) % shape.length === 0) === i);
  const axes = pick(random, [undefined, anyAxis(random, shape.length), once]);
  const keepDims = random() < 0.5;
  // Of nothing, wasm has as a maximum what its memory held.
  const name = shape.includes(0) ? 'sum' : pick(random, ['sum', 'sum', 'prod', 'max', 'min'] as const);
  const what = `${name} over ${String(axes)}, ${keepDims}`;
  // Larger products of integers have no number of 32 bits.
  const x =
    name === 'prod' && random() < 0.3
      ? {shape, below: 3}
      : anyOperand(random, shape, name === 'prod' ? ['float32', 'bool'] : NUMBERS);
  return named(what, [x], y => tf[name](y, axes, keepDims));
};

const cumulation = (random: Random): KernelCase => {
  // Of a scalar, stock tfjs comes to no end.
  const shape = shapeOf(random, between(random, 1, 4));
  const axis = anyAxis(random, shape.length);
  const name = pick(random, ['cumsum', 'cumprod'] as const);
  const [exclusive, reverse] = [random() < 0.5, random() < 0.5];
  const compute = (x?: tf.Tensor) => tf[name](x!, axis, exclusive, reverse);
  const cumulated = named(`${name} along ${axis}, ${exclusive}, ${reverse}`, [anyOperand(random, shape)], compute);
  return axis < 0 ? {...cumulated, isCorrected: true} : cumulated;
};

const normalization = (random: Random): KernelCase => {
  const shape = shapeOf(random, between(random, 1, 4));
  const channels = shape.at(-1)!;
  const ofStatistics = pick(random, [
    [channels],
    [channels],
    [channels],
    [...shape.slice(0, -2), shape.at(-2) ?? 1, 1],
  ]);
  const statistics = () => anyOperand(random, bent(random, ofStatistics), ['float32', 'float32', 'float32', 'int32']);
  const [hasOffset, hasScale] = [random() < 0.7, random() < 0.7];
  const epsilon = pick(random, [undefined, 0.1]);
  return {
    ...named(
      `batchNorm ${hasOffset}, ${hasScale}, ${epsilon}`,
      [anyOperand(random, shape, ['float32', 'float32', 'float32', 'int32']), ...[0, 1, 2, 3].map(statistics)],
      (x, mean, variance, offset, scale) =>
        tf.batchNorm(
          x,
          mean,
          tf.add<tf.Tensor1D>(tf.abs(variance), 0.5),
          ...([
            hasOffset ? (offset as tf.Tensor1D) : undefined,
            hasScale ? (scale as tf.Tensor1D) : undefined,
          ] as const),
          epsilon,
        ),
    ),
    isConstant: true,
    isCorrected: true,
  };
};

/** Elementwise operations, choices, sums and norms. */
export const ODD_ELEMENTS: readonly ((random: Random) => KernelCase)[] = [
  ...[binary, binary, binary, bounded, choice, reduction, reduction, cumulation, normalization],
];
