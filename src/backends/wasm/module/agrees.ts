import * as tf from '@tensorflow/tfjs';
import type {WasmBackend} from '../../shared/kernel';
import {convolve} from './convolution';
import {nativeGeometry} from './geometry';
import type {Native} from './native';
import {normalize} from './normalization';
import {clampOf, matMul} from './products';

/** The backend's own kernels, by name. */
export type StockKernels = (name: string) => tf.KernelFunc | undefined;

/**
 * Whether our kernels return what the backend's own return, bit for bit: another version of tfjs, or another processor,
 * may sum in another order. The operands are small, of sizes that fill no tile, and try bias, activation, stride and
 * padding.
 */
export function agrees(native: Native, backend: WasmBackend, stock: StockKernels): boolean {
  const made: tf.TensorInfo[] = [];
  const tensor = (shape: number[], seed: number): tf.TensorInfo => {
    const info = backend.makeOutput(shape, 'float32');
    made.push(info);
    const values = Float32Array.from({length: tf.util.sizeFromShape(shape)}, (_, i) => noise(i + seed));
    native.writeFloats(native.at(info), values);
    return info;
  };
  const run = (name: string, inputs: tf.NamedTensorInfoMap, attrs: object): tf.TensorInfo | undefined => {
    const info = stock(name)?.({inputs, attrs: attrs as tf.NamedAttrMap, backend}) as tf.TensorInfo | undefined;
    if (info !== undefined) {
      made.push(info);
    }
    return info;
  };
  const same = (expected: tf.TensorInfo | undefined, compute: (out: tf.TensorInfo) => void): boolean => {
    if (expected === undefined) {
      return false;
    }
    const actual = tensor(expected.shape, 0);
    compute(actual);
    const count = tf.util.sizeFromShape(expected.shape);
    const values = native.floats(native.at(actual), count);
    return native.floats(native.at(expected), count).every((value, i) => value === values[i]);
  };
  const product = (): boolean => {
    const [a, b, bias] = [tensor([1, 7, 37], 1), tensor([1, 37, 21], 2), tensor([21], 3)];
    const attrs = {transposeA: false, transposeB: false, activation: 'relu'};
    return same(run(tf._FusedMatMul, {a, b, bias}, attrs), out => {
      const clamp = clampOf('relu') ?? null;
      matMul(native, {m: 7, k: 37, n: 21}, native.at(a), native.at(b), false, native.at(out), {
        bias: native.at(bias),
        clamp,
      });
    });
  };
  const convolution = (strides: [number, number]): boolean => {
    const [x, filter, bias] = [tensor([2, 7, 6, 5], 4), tensor([3, 3, 5, 11], 5), tensor([11], 6)];
    const attrs = {strides, pad: 'same' as const, dataFormat: 'NHWC', dilations: [1, 1] as [number, number]};
    const geometry = nativeGeometry([2, 7, 6, 5], [3, 3, 5, 11], attrs);
    return same(run(tf.FusedConv2D, {x, filter, bias}, {...attrs, activation: 'linear'}), out => {
      if (geometry !== undefined) {
        const kernel = {place: native.at(filter), flipped: false};
        convolve(native, geometry, native.at(x), kernel, native.at(out), {bias: native.at(bias), clamp: null});
      }
    });
  };
  const normalization = (): boolean => {
    const x = tensor([5, 8], 7);
    const [mean, scale, offset] = [8, 9, 10].map(seed => tensor([8], seed)) as [
      tf.TensorInfo,
      tf.TensorInfo,
      tf.TensorInfo,
    ];
    const variance = tensor([8], 11);
    native.writeFloats(native.at(variance), native.floats(native.at(variance), 8).map(Math.abs));
    const epsilon = 0.001;
    return same(run(tf.FusedBatchNorm, {x, mean, variance, offset, scale}, {varianceEpsilon: epsilon}), out => {
      const weights = {mean, variance, scale, offset};
      const places = Object.fromEntries(Object.entries(weights).map(([name, info]) => [name, native.at(info)]));
      normalize(
        native,
        40,
        8,
        native.at(x),
        {...(places as Record<keyof typeof weights, number>), epsilon},
        native.at(out),
      );
    });
  };
  try {
    return product() && convolution([1, 1]) && convolution([2, 2]) && normalization();
  } finally {
    made.forEach(({dataId}) => backend.disposeData(dataId));
  }
}

/** Numbers between −1 and 1 without a pattern, whose sums round. */
function noise(i: number): number {
  return Math.sin(12.9898 * i + 78.233 * (i % 7));
}
