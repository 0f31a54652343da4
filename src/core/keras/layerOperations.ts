import * as tf from '@tensorflow/tfjs';
import {withMargins} from '../../backends/shared/geometry';
import {ATTENTION} from './attending';
import {CENTER_CROP, RESIZING} from './images';
import {CONVOLUTION, EINSUM} from './kernels';
import type {FormulaOps} from '../ops/formulaOps';
import {
  along,
  differing,
  type FormulaCall,
  fromFront,
  type KerasLayerArgs,
  type Operation,
  shapeAlong,
  sizesOf,
} from './layerOperation';

/** The operations, by their names in configs. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  attention: ATTENTION,
  centerCrop: CENTER_CROP,
  convolution: CONVOLUTION,
  einsum: EINSUM,
  resizing: RESIZING,
  relu: {
    formula(o, x, {maxValue, negativeSlope = 0, threshold = 0}) {
      const above = o.mul(x, o.step(o.sub(x, threshold)));
      const clipped = maxValue == null ? above : o.clip(above, 0, maxValue);
      return negativeSlope === 0 ? clipped : o.sub(clipped, o.mul(negativeSlope, o.relu(o.sub(threshold, x))));
    },
  },
  elu: {
    formula: (o, x, {scale = 1}) => o.sub(o.relu(x), o.mul(scale as number, o.sub(1, o.exp(o.min(x, 0))))),
  },
  rescaling: {
    formula(o, x, {scale = 1, offset = 0}, {shape}) {
      const [factor = 1, summand = 0] = [scale, offset].map(value =>
        typeof value === 'number' ? value : o.reshape(o.values(value), shapeAlong([-1], shape)),
      );
      return o.add(o.mul(o.float(x), factor), summand);
    },
  },
  average: {
    formula(o, x, {axes, keepdims = false, heedsMask}, {mask, shape}) {
      const over = fromFront(axes, shape.length);
      if (heedsMask !== true || mask == null) {
        return o.mean(x, over, keepdims);
      }
      const counts = o.expandDims(o.float(mask), [shape.length - 1]);
      return o.div(o.sum(o.mul(x, counts), over, keepdims), o.sum(counts, over, keepdims));
    },
    shape: pooled,
  },
  max: {
    formula: (o, x, {axes, keepdims = false}, {shape}) => o.greatest(x, fromFront(axes, shape.length), keepdims),
    shape: pooled,
  },
  softmax: {
    formula(o, x, {axes}, {shape}) {
      const over = fromFront(axes, shape.length);
      const powers = o.exp(o.sub(x, o.greatest(x, over)));
      return o.div(powers, o.sum(powers, over));
    },
  },
  normalization: {
    weights: (input, {axes, mean}) =>
      ['mean', 'variance'].flatMap(name =>
        mean === undefined ? [{name, shape: sizesOf(input, fromFront(axes, input.length)), trainable: false}] : [],
      ),
    formula<T, N>(o: FormulaOps<T, N>, x: T, args: KerasLayerArgs, {weights, shape}: FormulaCall<T>): T {
      const {axes, mean, variance, invert} = args;
      const along = (name: string, list: readonly number[] | undefined) =>
        o.reshape(
          mean === undefined ? (weights[name] as T) : o.values(list ?? []),
          list?.length === 1 ? [] : shapeAlong(axes, shape),
        );
      const center = along('mean', mean);
      const deviation = o.max(o.sqrt(along('variance', variance)), 1e-7);
      return invert === true ? o.add(center, o.mul(x, deviation)) : o.div(o.sub(x, center), deviation);
    },
  },
  // x / √(mean x² + ε) · scale
  rms: {
    weights: (input, {axes = []}) => [{name: 'scale', shape: sizesOf(input, axes)}],
    formula<T, N>(o: FormulaOps<T, N>, x: T, args: KerasLayerArgs, {weights, shape}: FormulaCall<T>): T {
      const {axes, epsilon = 1e-6} = args;
      const y = o.mul(x, o.rsqrt(o.add(o.mean(o.square(x), fromFront(axes, shape.length)), epsilon)));
      return o.mul(y, o.reshape(weights.scale as T, shapeAlong(axes, shape)));
    },
  },
  unit: {
    formula: (o, x, {axes}, {shape}) =>
      o.mul(x, o.rsqrt(o.max(o.sum(o.square(x), fromFront(axes, shape.length)), 1e-12))),
  },
  layerscale: {
    weights: input => [{name: 'gamma', shape: input.slice(-1)}],
    formula: <T, N>(o: FormulaOps<T, N>, x: T, _: KerasLayerArgs, {weights, shape}: FormulaCall<T>): T =>
      o.mul(x, o.reshape(weights.gamma as T, shapeAlong([-1], shape))),
  },
  group: {
    weights: (input, {axes, has = []}) => has.map(name => ({name, shape: sizesOf(input, axes)})),
    compute(x, {axes = [], epsilon = 1e-3, groups = 1}, {weights}) {
      const [axis = 0] = fromFront(axes, x.rank);
      const sizes = (from: number, to?: number) => tf.util.sizeFromShape(x.shape.slice(from, to));
      const shape = [x.shape[0], sizes(1, axis), groups, (x.shape[axis] ?? 0) / groups, sizes(axis + 1)];
      const grouped = tf.reshape(x, shape);
      const {mean, variance} = tf.moments(grouped, [1, 3, 4], true);
      const normal = tf.reshape(tf.mul(tf.sub(grouped, mean), tf.rsqrt(tf.add(variance, epsilon))), x.shape);
      const {gamma, beta} = weights;
      const scaled = gamma === undefined ? normal : tf.mul(normal, along(gamma, axes, x));
      return beta === undefined ? scaled : tf.add(scaled, along(beta, axes, x));
    },
  },
  margins: {
    compute: (x, {margins = []}) => tf.clone(withMargins(x, margins)),
    shape: (input, {margins = []}) => input.map((size, axis) => size && size + sum(margins[axis] ?? [])),
  },
  transpose: {
    formula: (o, x, {order = []}) => o.transpose(x, order),
    shape: (input, {order = []}) => order.map(axis => input[axis] ?? null),
  },
  // Repeats entries: [a, b] → [a, a, b, b].
  repeat: {
    compute: (x, {axes = [], strides = []}) =>
      axes.reduce((y, axis, i) => {
        const count = strides[i] ?? 1;
        const rows = tf.util.sizeFromShape(y.shape.slice(0, axis + 1));
        const repeated = tf.mul(tf.reshape(y, [rows, 1, -1]), tf.ones([1, count, 1]));
        return tf.reshape(
          repeated,
          y.shape.map((size, other) => (other === axis ? size * count : size)),
        );
      }, x),
    shape: (input, {axes = [], strides = []}) =>
      input.map((size, axis) => size && size * (strides[axes.indexOf(axis)] ?? 1)),
  },
  expand: {
    formula: (o, x) => o.expandDims(x, [1]),
    shape: ([n = null, ...sizes]) => [n, 1, ...sizes],
  },
  squeeze: {
    formula: (o, x) => o.squeeze(x, [1]),
    shape: ([n = null, , ...sizes]) => [n, ...sizes],
  },
  // Which positions are not masked, as 0 and 1.
  notequal: {
    compute(x, {value = 0, axes}) {
      const differs = differing(x, value);
      return axes === undefined ? differs : tf.max(differs, axes);
    },
    shape: (input, {axes}) => (axes === undefined ? input : pooled(input, {computes: '', axes})),
  },
  // Its second input is the mask of the layer after it. Without one, no step is masked.
  mask: {compute: x => tf.clone(x)},
};

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function pooled(input: tf.Shape, {axes, keepdims}: KerasLayerArgs): tf.Shape {
  const over = fromFront(axes, input.length);
  const sizes = input.map((size, axis) => (over.includes(axis) ? 1 : size));
  return keepdims === true ? sizes : sizes.filter((_, axis) => !over.includes(axis));
}
