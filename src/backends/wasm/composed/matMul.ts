import * as tf from '@tensorflow/tfjs';
import {directProducts, matrixProducts, type Multiply} from '../../shared/matrixProducts';
import {withExactClamp} from './pointwise';
import {wrappedKernel} from '../../shared/kernel';
import type {OwnKernel} from '../../shared/registration';

/** Products of matrices with fewer multiplications than this are left to the backend's own loop. */
const SMALL = 40_000;

interface Operands {
  readonly a: tf.Tensor;
  readonly b: tf.Tensor;
  readonly bias?: tf.Tensor | null;
  readonly preluActivationWeights?: tf.Tensor | null;
}

interface Attributes {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** Of `_FusedMatMul`. */
  readonly activation?: string;
  readonly leakyreluAlpha?: number;
}

/** The shape as which the data of a right-hand matrix was packed. */
const packedAs = new WeakMap<tf.DataId, string>();

/**
 * `BatchMatMul` and `_FusedMatMul`.
 *
 * The backend has one fast product, that of two matrices as they are. All others, transposed or several at a time, run
 * in a plain loop fifteen times slower, which in the fused kernel also adds the wrong bias. Here they are made of fast
 * products. A bias of several axes, which the fused kernel refuses, is added to the product.
 */
export const matMulKernels: readonly OwnKernel[] = [tf.BatchMatMul, tf._FusedMatMul].map(name =>
  wrappedKernel<Operands, Attributes>(name, own => call => {
    const stock = withExactClamp(own);
    const {inputs, attrs} = call;
    const {a, b, bias} = inputs;
    const {transposeA, transposeB, activation = 'linear'} = attrs;
    if (bias != null && bias.shape.length > 1) {
      return withWideBias(inputs, bias, attrs);
    }
    const counts = [matrixCount(a), matrixCount(b)] as const;
    const hasFast = a.dtype === 'float32' && b.dtype === 'float32' && a.size > 0 && b.size > 0;
    const isBroadcast = counts[0] !== counts[1] && !counts.includes(1);
    if ((a.size === 0 || b.size === 0) && bias == null) {
      return nothing(a, b, transposeA, transposeB); // where the backend leaves what its memory held
    }
    if (!hasFast || isBroadcast) {
      return stock(call);
    }
    if (counts[0] === 1 && counts[1] === 1 && !transposeA && !transposeB) {
      const packable = withOwnPacking(b);
      const product = stock({...call, inputs: {...inputs, b: packable}});
      if (packable !== b) {
        packable.dispose();
      }
      return product;
    }
    const multiplications = (a.size / counts[0]) * (b.shape.at(transposeB ? -2 : -1) as number);
    const isPlain = bias == null && activation === 'linear';
    if (isPlain && multiplications < SMALL) {
      return stock(call);
    }
    const multiply: Multiply = (left, right) =>
      tf.engine().runKernel(name, {...inputs, a: left, b: right} as unknown as tf.NamedTensorMap, {
        ...attrs,
        transposeA: false,
        transposeB: false,
      });
    return tf.tidy(() => {
      // The fused kernel's bias and activation belong to the columns of the product, which must not be turned.
      const products = (isPlain ? matrixProducts : directProducts)(
        asMatrices(a, counts[0]),
        asMatrices(b, counts[1]),
        transposeA,
        transposeB,
        multiply,
      );
      const outer = (counts[0] === 1 ? b : a).shape.slice(0, -2);
      return tf.reshape(products, [...outer, ...products.shape.slice(1)]);
    });
  }),
);

/** The kernels of what may be fused behind a product. */
const ACTIVATIONS: Readonly<Record<string, string>> = {
  relu: tf.Relu,
  relu6: tf.Relu6,
  elu: tf.Elu,
  sigmoid: tf.Sigmoid,
  tanh: tf.Tanh,
  leakyrelu: tf.LeakyRelu,
  prelu: tf.Prelu,
};

function withWideBias({a, b, preluActivationWeights}: Operands, bias: tf.Tensor, attrs: Attributes): tf.Tensor {
  const {transposeA, transposeB, activation = 'linear', leakyreluAlpha} = attrs;
  return tf.tidy(() => {
    const sum = tf.add(tf.matMul(a, b, transposeA, transposeB), bias);
    const kernel = ACTIVATIONS[activation];
    return kernel === undefined
      ? sum
      : tf
          .engine()
          .runKernel(
            kernel,
            {x: sum, ...(preluActivationWeights && {alpha: preluActivationWeights})},
            {alpha: leakyreluAlpha ?? 0},
          );
  });
}

/** The product of matrices of which one has no numbers: zeros. */
function nothing(a: tf.Tensor, b: tf.Tensor, transposeA: boolean, transposeB: boolean): tf.Tensor {
  const outer = tf.broadcast_util.assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const rows = a.shape.at(transposeA ? -1 : -2) as number;
  const columns = b.shape.at(transposeB ? -2 : -1) as number;
  return tf.zeros([...outer, rows, columns]);
}

/**
 * `b`, or a copy where its data were packed in another shape before. The backend keeps what it packed by the data
 * alone, and would read and write beyond the ends of both.
 */
function withOwnPacking(b: tf.Tensor): tf.Tensor {
  const shape = b.shape.slice(-2).join();
  const packed = packedAs.get(b.dataId);
  if (packed === undefined) {
    packedAs.set(b.dataId, shape);
  }
  if (packed === undefined || packed === shape) {
    return b;
  }
  return tf.slice(
    b,
    b.shape.map(() => 0),
    b.shape,
  );
}

function matrixCount(x: tf.Tensor): number {
  return tf.util.sizeFromShape(x.shape.slice(0, -2));
}

function asMatrices(x: tf.Tensor, count: number): tf.Tensor3D {
  return tf.reshape(x, [count, ...(x.shape.slice(-2) as [number, number])]);
}
