import * as tf from '@tensorflow/tfjs';
import {withExactActivation} from './pointwise';
import {wrappedKernel} from '../../shared/kernel';
import type {OwnKernel} from '../../shared/registration';

interface Operands {
  readonly a: tf.Tensor;
  readonly b: tf.Tensor;
  readonly bias?: tf.Tensor | null;
  readonly preluActivationWeights?: tf.Tensor | null;
}

interface Attributes {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** Attributes of `_FusedMatMul`. */
  readonly activation?: string;
  readonly leakyreluAlpha?: number;
}

/** The shape as which the data of a right-hand matrix was packed. */
const packedAs = new WeakMap<tf.DataId, string>();

/**
 * `BatchMatMul` and `_FusedMatMul`.
 *
 * The backend's own product of two matrices is right as they are. Its fused kernel adds the wrong bias where matrices
 * are transposed or several at a time, so these become products of single matrices, transposed before. A bias of
 * several axes, which the fused kernel refuses, or of one number, beyond which it reads, is added to the product.
 */
export const matMulKernels: readonly OwnKernel[] = [tf.BatchMatMul, tf._FusedMatMul].map(name =>
  wrappedKernel<Operands, Attributes>(name, original => call => {
    const stock = withExactActivation(original);
    const {inputs, attrs} = call;
    const {a, b, bias} = inputs;
    const {transposeA, transposeB} = attrs;
    if (a.dtype !== 'float32' || b.dtype !== 'float32' || !hasProduct(a, b, attrs)) {
      return original(call); // refuses it
    }
    const isEmpty = a.size === 0 || b.size === 0; // where the backend leaves what its memory held
    const isVector = bias == null || String(bias.shape) === String(b.shape.slice(transposeB ? -2 : -1).slice(0, 1));
    if (!isVector || (isEmpty && name === tf._FusedMatMul)) {
      return composedProduct(inputs, attrs);
    }
    const outer = tf.broadcast_util.assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
    if (isEmpty) {
      return zeroProduct(outer, a, b, attrs);
    }
    const counts = [matrixCount(a), matrixCount(b)] as const;
    if (!isRepeatedWhole(counts, tf.util.sizeFromShape(outer))) {
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
    const multiply: Multiply = (left, right) =>
      tf.engine().runKernel(name, {...inputs, a: left, b: right} as unknown as tf.NamedTensorMap, {
        ...attrs,
        transposeA: false,
        transposeB: false,
      });
    return tf.tidy(() => {
      const products = multiplyEach(
        asMatrices(a, counts[0], transposeA),
        asMatrices(b, counts[1], transposeB),
        multiply,
      );
      return tf.reshape(products, [...outer, ...products.shape.slice(1)]);
    });
  }),
);

/** The kernels of operations that may be fused with a product. */
const ACTIVATIONS: Readonly<Record<string, string>> = {
  relu: tf.Relu,
  relu6: tf.Relu6,
  elu: tf.Elu,
  sigmoid: tf.Sigmoid,
  tanh: tf.Tanh,
  leakyrelu: tf.LeakyRelu,
  prelu: tf.Prelu,
};

/** The product, the bias and the activation one after the other. */
function composedProduct({a, b, bias, preluActivationWeights}: Operands, attrs: Attributes): tf.Tensor {
  const {transposeA, transposeB, activation = 'linear', leakyreluAlpha} = attrs;
  return tf.tidy(() => {
    const product = tf.matMul(a, b, transposeA, transposeB);
    const sum = bias == null ? product : tf.add(product, bias);
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

/** Whether two tensors hold matrices whose inner sizes fit. */
function hasProduct(a: tf.Tensor, b: tf.Tensor, {transposeA, transposeB}: Attributes): boolean {
  return a.rank > 1 && b.rank > 1 && a.shape.at(transposeA ? -2 : -1) === b.shape.at(transposeB ? -1 : -2);
}

/** The product of matrices if one is empty: zeros. */
function zeroProduct(outer: number[], a: tf.Tensor, b: tf.Tensor, {transposeA, transposeB}: Attributes): tf.Tensor {
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

/** Whether both sides have all matrices, or one of them has one. */
function isRepeatedWhole(counts: readonly number[], all: number): boolean {
  return counts.includes(all) && counts.every(count => count === all || count === 1);
}

function asMatrices(x: tf.Tensor, count: number, isTransposed: boolean): tf.Tensor3D {
  const matrices = tf.reshape<tf.Rank.R3>(x, [count, ...(x.shape.slice(-2) as [number, number])]);
  return isTransposed ? tf.transpose(matrices, [0, 2, 1]) : matrices;
}

/** The product of two matrices `[1, m, k]` and `[1, k, n]`. */
type Multiply = (a: tf.Tensor3D, b: tf.Tensor3D) => tf.Tensor3D;

/** `[p, m, k] · [p, k, n] → [p, m, n]`, where p may be 1 on one side. */
function multiplyEach(a: tf.Tensor3D, b: tf.Tensor3D, multiply: Multiply): tf.Tensor3D {
  const [countA, m, k] = a.shape;
  const [countB, , n] = b.shape;
  if (countB === 1) {
    return tf.reshape(multiply(tf.reshape(a, [1, countA * m, k]), b), [countA, m, n]);
  }
  const products = Array.from({length: countB}, (_, i) =>
    multiply(countA === 1 ? a : tf.slice(a, [i, 0, 0], [1, m, k]), tf.slice(b, [i, 0, 0], [1, k, n])),
  );
  return tf.concat(products, 0);
}
