import * as tf from '@tensorflow/tfjs';
import {newKernel} from '../../shared/kernel';
import type {OwnKernel} from '../../shared/registration';
import {nativeOf} from './find';
import {matMul} from './products';

/** The kernel for `c + a·b`: `[.., width] + [.., rank] · [rank, width]`, or `b` as `[width, rank]`. */
export const ADD_PRODUCT = 'TfjsLoRAAddProduct';

/** The sums begin with `c`, so the product is not written and read again. */
export const addProductKernel: OwnKernel = newKernel<
  Record<'a' | 'b' | 'c', tf.Tensor>,
  {readonly transposed: boolean}
>(ADD_PRODUCT, ({inputs: {c, a, b}, attrs: {transposed}, backend}) => {
  const native = nativeOf(backend);
  const [k, n] = [a, c].map(({shape}) => shape.at(-1) ?? 1) as [number, number];
  if (native === undefined || c.size === 0 || k === 0 || [c, a, b].some(({dtype}) => dtype !== 'float32')) {
    const product = () => tf.matMul(tf.reshape(a, [-1, k]), b, false, transposed);
    return tf.tidy(() => tf.add(c, tf.reshape(product(), c.shape)));
  }
  const out = native.output(c.shape);
  const [to, from, left, right] = [out, c, a, b].map(tensor => native.at(tensor)) as [number, number, number, number];
  const epilogue = {bias: from, biasStride: 4 * n, clamp: null};
  matMul(native, {m: c.size / n, k, n}, left, right, transposed, to, epilogue);
  return out;
});
