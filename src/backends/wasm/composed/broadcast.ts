import * as tf from '@tensorflow/tfjs';
import {exactPrelu, mayHold, type Slopes} from './pointwise';
import {isNumeric} from './copy';
import {type KernelCall, wrappedKernel} from '../../shared/kernel';
import {heapViews} from './heap';
import type {OwnKernel} from '../../shared/registration';

/** Smaller results are left to the backend. */
const SMALL = 2 ** 12;

/** The operations that the backend computes by itself. The others it has from XNNPACK, which broadcasts fast. */
const NAMES = [
  ...[tf.Equal, tf.NotEqual, tf.Greater, tf.GreaterEqual, tf.Less, tf.LessEqual, tf.LogicalAnd, tf.LogicalOr],
  ...[tf.Maximum, tf.Minimum, tf.Pow, tf.Mod, tf.FloorDiv, tf.Atan2],
];

/** If one of two values is NaN, other backends return NaN. Here it does so for the first of the two. */
const KEEPING_NAN: readonly string[] = [tf.Maximum, tf.Minimum];

interface Operands {
  readonly a: tf.Tensor;
  readonly b: tf.Tensor;
}

/**
 * Operations of two tensors if one is repeated along an inner axis, such as `[n, h, w, c]` and `[n, 1, 1, c]`. The
 * backend computes the position of each value (60 ns); here the tensor is repeated first. The gradients of `max` and
 * `min` compare in this way, and so that of a global max pooling.
 */
export const broadcastKernels: readonly OwnKernel[] = [
  prelu(),
  ...NAMES.map(name =>
    wrappedKernel<Operands, object>(name, original => call => {
      const {a, b} = call.inputs;
      const shape = tf.broadcast_util.assertAndGetBroadcastShape(a.shape, b.shape);
      const isWhole = a.dtype === b.dtype && (a.dtype === 'bool' || (a.dtype === 'int32' && name !== tf.Atan2));
      const ofWhole = isWhole ? OF_WHOLE[name] : undefined;
      const stock = ofWhole ? eachOf(ofWhole) : KEEPING_NAN.includes(name) ? keepingNaN(original) : original;
      const isFast = [a, b].every(x => repeatsAsAWhole(x, shape)) || ![a, b].every(isNumeric);
      if (ofWhole === undefined && (isFast || tf.util.sizeFromShape(shape) < SMALL)) {
        return stock(call);
      }
      const [repeatedA, repeatedB] = tf.tidy(() => [a, b].map(x => repeated(x, shape))) as [tf.Tensor, tf.Tensor];
      try {
        return stock({...call, inputs: {a: repeatedA, b: repeatedB}});
      } finally {
        tf.dispose([repeatedA, repeatedB]);
      }
    }),
  ),
];

/**
 * The backend divides integers as floats, which hold those up to 2^24, and ends in a trap if a remainder is by 0. It
 * computes nothing from truth values.
 */
const OF_WHOLE: Readonly<Record<string, (a: number, b: number) => number>> = {
  [tf.FloorDiv]: (a, b) => Math.floor(a / b),
  [tf.Mod]: (a, b) => a - b * Math.floor(a / b),
  [tf.Atan2]: Math.atan2,
};

/** A kernel of integers or truth values of the same shape. A division by 0 gives 0, as on cpu. */
function eachOf(compute: (a: number, b: number) => number): Kernel {
  return ({inputs: {a, b}, backend}) => {
    const out = backend.makeOutput(a.shape, a.dtype);
    const [left, right, results] = heapViews(backend, a, b, out) as [Int32Array, Int32Array, Int32Array];
    for (let i = 0; i < results.length; i++) {
      results[i] = compute(left[i] as number, right[i] as number);
    }
    return out;
  };
}

/**
 * The backend takes slopes that are repeated along the last axis for others, and integers for floats. Of more slopes
 * than values it reads some, where cpu repeats the values.
 */
function prelu(): OwnKernel {
  return wrappedKernel<Slopes, object>(tf.Prelu, stock => call => {
    const {x, alpha} = call.inputs;
    const shape = tf.broadcast_util.assertAndGetBroadcastShape(x.shape, alpha.shape);
    if (shape.includes(0)) {
      return call.backend.makeOutput(shape, 'float32'); // where the backend divides by 0
    }
    const compute = exactPrelu(stock);
    const areFloats = x.dtype === 'float32' && alpha.dtype === 'float32';
    if (areFloats && repeatsAsAWhole(alpha, shape) && tf.util.arraysEqual(x.shape, shape)) {
      return compute(call);
    }
    const [values, slopes] = tf.tidy(() => [x, alpha].map(tensor => repeated(tf.cast(tensor, 'float32'), shape))) as [
      tf.Tensor,
      tf.Tensor,
    ];
    try {
      return compute({...call, inputs: {x: values, alpha: slopes}});
    } finally {
      tf.dispose([values, slopes]);
    }
  });
}

type Kernel = (call: KernelCall<Operands, object>) => tf.TensorInfo;

/** The larger operand goes first, and the smaller one is searched. */
function keepingNaN(stock: Kernel): Kernel {
  return call => {
    const [a, b] = [call.inputs.a, call.inputs.b].sort((x, y) => y.size - x.size) as [tf.Tensor, tf.Tensor];
    const result = stock({...call, inputs: {a, b}});
    if (b.dtype !== 'float32' || !mayHold(call.backend, b, NaN)) {
      return result;
    }
    return tf.tidy(() => tf.where(tf.isNaN(b), b, tf.engine().makeTensorFromTensorInfo(result)));
  };
}

/** Whether repeating a tensor as a whole fills a shape, which the backend does fast. */
function repeatsAsAWhole(x: tf.Tensor, shape: readonly number[]): boolean {
  const inner = x.shape.slice(x.shape.findIndex(length => length !== 1));
  return x.size === 1 || inner.every((length, i) => length === shape[shape.length - inner.length + i]);
}

function repeated(x: tf.Tensor, shape: readonly number[]): tf.Tensor {
  const aligned = [...shape.slice(x.rank).map(() => 1), ...x.shape];
  return tf.tile(
    tf.reshape(x, aligned),
    shape.map((length, axis) => length / (aligned[axis] as number)),
  );
}
