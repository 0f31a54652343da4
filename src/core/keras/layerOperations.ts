import * as tf from '@tensorflow/tfjs';
import {withMargins} from '../../backends/shared/geometry';
import {ATTENTION} from './attending';
import {CENTER_CROP, RESIZING} from './images';
import {CONVOLUTION, EINSUM} from './kernels';
import {along, differing, fromFront, type KerasLayerArgs, type Operation, sizesOf} from './layerOperation';

/** The operations, by their names in configs. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  attention: ATTENTION,
  centerCrop: CENTER_CROP,
  convolution: CONVOLUTION,
  einsum: EINSUM,
  resizing: RESIZING,
  relu: {
    compute(x, {maxValue, negativeSlope = 0, threshold = 0}) {
      const above = tf.mul(x, tf.step(tf.sub(x, threshold)));
      const clipped = maxValue == null ? above : tf.clipByValue(above, 0, maxValue);
      return negativeSlope === 0 ? clipped : tf.sub(clipped, tf.mul(negativeSlope, tf.relu(tf.sub(threshold, x))));
    },
  },
  elu: {
    compute: (x, {scale = 1}) => tf.sub(tf.relu(x), tf.mul(scale, tf.sub(1, tf.exp(tf.minimum(x, 0))))),
  },
  rescaling: {
    compute(x, {scale = 1, offset = 0}) {
      const [factor, summand] = [scale, offset].map(value =>
        typeof value === 'number' ? value : along(tf.tensor1d(value), [-1], x),
      ) as [tf.TensorLike, tf.TensorLike];
      return tf.add(tf.mul(tf.cast(x, 'float32'), factor), summand);
    },
  },
  average: {
    compute(x, {axes, keepdims, heedsMask}, {mask}) {
      if (heedsMask !== true || mask == null) {
        return tf.mean(x, axes, keepdims);
      }
      const counts = tf.expandDims(tf.cast(mask, 'float32'), -1);
      return tf.div(tf.sum(tf.mul(x, counts), axes, keepdims), tf.sum(counts, axes, keepdims));
    },
    shape: pooled,
  },
  max: {compute: (x, {axes, keepdims}) => tf.max(x, axes, keepdims), shape: pooled},
  softmax: {
    compute(x, {axes}) {
      const powers = tf.exp(tf.sub(x, tf.max(x, axes, true)));
      return tf.div(powers, tf.sum(powers, axes, true));
    },
  },
  normalization: {
    weights: (input, {axes, mean}) =>
      ['mean', 'variance'].flatMap(name =>
        mean === undefined ? [{name, shape: sizesOf(input, fromFront(axes, input.length)), trainable: false}] : [],
      ),
    compute(x, {axes, mean, variance, invert}, {weights}) {
      const normalizers =
        mean === undefined
          ? [weights.mean, weights.variance]
          : [mean, variance ?? []].map(values => tf.tensor1d(values));
      const [center, squares] = (normalizers as tf.Tensor[]).map(tensor =>
        tensor.size === 1 ? tf.reshape(tensor, []) : along(tensor, axes, x),
      ) as [tf.Tensor, tf.Tensor];
      const deviation = tf.maximum(tf.sqrt(squares), 1e-7);
      return invert === true ? tf.add(center, tf.mul(x, deviation)) : tf.div(tf.sub(x, center), deviation);
    },
  },
  // x / √(mean x² + ε) · scale
  rms: {
    weights: (input, {axes = []}) => [{name: 'scale', shape: sizesOf(input, axes)}],
    compute(x, {axes, epsilon = 1e-6}, {weights}) {
      const y = tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), axes, true), epsilon)));
      return tf.mul(y, along(weights.scale as tf.Tensor, axes, x));
    },
  },
  unit: {
    compute: (x, {axes}) => tf.mul(x, tf.rsqrt(tf.maximum(tf.sum(tf.square(x), axes, true), 1e-12))),
  },
  layerscale: {
    weights: input => [{name: 'gamma', shape: input.slice(-1)}],
    compute: (x, _args, {weights}) => tf.mul(x, along(weights.gamma as tf.Tensor, [-1], x)),
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
    compute: (x, {order}) => tf.transpose(x, order),
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
    compute: x => tf.expandDims(x, 1),
    shape: ([n = null, ...sizes]) => [n, 1, ...sizes],
  },
  squeeze: {
    compute: x => tf.squeeze(x, [1]),
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
