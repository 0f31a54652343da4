import * as tf from '@tensorflow/tfjs';
import type {ConvSettings} from '../../backends/shared/geometry';
import type {Activation} from './activation';
import {asMatrix, fromMatrix, product, scaled, updatedKernel} from './factors';
import {conv2dGradients, fusedConv2d} from './convolutionKernels';
import {runLazyOp} from '../../platform/tfjs/lazyOp';
import type {LinearWeights} from './linear';

/**
 * `f(x ∗ᵀ (W + s·A·B) + b)`, with `∗ᵀ` the transposed convolution
 * `[n, h, w, in] ∗ᵀ [kh, kw, out, in] → [n, h', w', out]`: the gradient that a convolution of `[n, h', w', out]` with
 * this kernel has in its input. Its own gradients are that convolution, and the gradient of the convolution in its
 * kernel.
 *
 * `A` is `[kh, kw, out, rank]`, a transposed convolution like that with `W`, and `B`, `[rank, in]`, makes the `rank`
 * channels that it starts from. Differentiable in whatever of `x`, `A`, `B`, `W` and `b` is asked for; without factors
 * in `x` and `b`, unless the kernel may train.
 */
export function conv2dTranspose(
  x: tf.Tensor4D,
  {kernel, bias, factors = null, trains = false}: Pick<LinearWeights, 'kernel' | 'bias' | 'factors' | 'trains'>,
  geometry: ConvSettings,
  activation: Activation,
): tf.Tensor {
  const shape = outputShape(x.shape, kernel.shape, geometry);
  const convolve = (image: tf.Tensor, filter: tf.Tensor) =>
    fusedConv2d(image as tf.Tensor4D, filter as tf.Tensor4D, null, geometry, 'linear');
  return runLazyOp({
    inputs: {x, kernel, ...(bias && {bias}), ...(factors && {a: factors.a, b: factors.b})},
    save: {
      x: trains || factors !== null,
      kernel: true,
      a: factors !== null,
      b: factors !== null,
      y: activation.gradient !== null,
    },
    forward: () => {
      const z = conv2dGradients.input(x, updatedKernel(kernel, factors) as tf.Tensor4D, shape, geometry);
      return activation.apply(bias === null ? z : tf.add(z, bias));
    },
    gradient: (dy, saved): Record<string, () => tf.Tensor> => {
      const dz = (activation.gradient === null ? dy : activation.gradient(dy, saved.y)) as tf.Tensor4D;
      const savedFactors = factors && {...factors, a: saved.a, b: saved.b};
      const dx = () => convolve(dz, updatedKernel(saved.kernel, savedFactors));
      const dBias = () => tf.sum(asMatrix(dz), 0);
      const kernelGradient = (input: tf.Tensor, kernelShape: number[]) =>
        conv2dGradients.filter(dz, input as tf.Tensor4D, kernelShape as tf.Tensor4D['shape'], geometry);
      const ofKernel = () => kernelGradient(saved.x, kernel.shape);
      if (savedFactors === null) {
        return {x: dx, bias: dBias, ...(trains && {kernel: ofKernel})};
      }
      const {a, b, scaling} = savedFactors;
      return {
        x: dx,
        kernel: ofKernel,
        bias: dBias,
        a: () => {
          const low = product(asMatrix(saved.x), scaled(b, scaling), false, true); // [n·h·w, in] · [in, r]
          return kernelGradient(fromMatrix(low, saved.x.shape), a.shape);
        },
        b: () => {
          const low = asMatrix(convolve(dz, a)); // [n·h·w, r]
          return scaled(product(low, asMatrix(saved.x), true), scaling); // [r, n·h·w] · [n·h·w, in]
        },
      };
    },
  });
}

/** Like stock layers: the largest output whose convolution gives the input. */
function outputShape(
  [n, height, width]: tf.Tensor4D['shape'],
  [kh = 1, kw = 1, out = 1]: number[],
  {strides: [strideH, strideW], padding}: ConvSettings,
): tf.Tensor4D['shape'] {
  const length = (input: number, kernel: number, stride: number) =>
    input * stride + (padding === 'valid' ? Math.max(kernel - stride, 0) : 0);
  return [n, length(height, kh, strideH), length(width, kw, strideW), out];
}
