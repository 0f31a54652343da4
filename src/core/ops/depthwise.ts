import * as tf from '@tensorflow/tfjs';
import {capabilities} from '../../backends/shared/capabilities';
import type {ConvSettings} from '../../backends/shared/geometry';
import type {Activation} from './activation';
import {epilogueGradient} from './epilogueGradients';
import {deflate, inflate, inflatedShape} from './dilation';
import {asMatrix, factorGradients, updatedKernel} from './factors';
import {depthwiseGradients, fusedDepthwiseConv2d} from './convolutionKernels';
import {runLazyOp} from '../../platform/tfjs/lazyOp';
import type {LinearWeights} from './linear';

export interface DepthwiseWeights extends Pick<LinearWeights, 'bias' | 'factors' | 'defer' | 'trains'> {
  /** `[kh, kw, in, mult]`. */
  kernel: tf.Tensor;
  /** Fuse the bias and the activation with the convolution, which stock layers do not. Default: false. */
  fuses?: boolean;
}

/**
 * `f(x ∗ (W + s·A·B) + b)`, with `∗` the depthwise convolution
 * `[n, h, w, in] ∗ [kh, kw, in, mult] → [n, h', w', in·mult]`, in which each channel of the input has `mult` filters of
 * its own.
 *
 * The kernel is tiny compared with the images, so the update is added to the kernel: `A` is `[kh, kw, rank]` and `B`
 * `[rank, in, mult]`. Their gradients come from that of the kernel. Differentiable in `x`, `A`, `B`, `W` and `b`, as
 * requested; without factors in `x` and `b`, unless the kernel may train.
 */
export function depthwiseConv2d(
  x: tf.Tensor4D,
  {kernel, bias, factors = null, defer, trains = false, fuses = false}: DepthwiseWeights,
  geometry: ConvSettings,
  activation: Activation,
): tf.Tensor {
  const {strides, padding, dilations} = geometry;
  const learns = trains || factors !== null;
  return runLazyOp({
    inputs: {x, kernel, ...(bias && {bias}), ...(factors && {a: factors.a, b: factors.b})},
    save: {x: learns, kernel: true, a: factors !== null, b: factors !== null, y: activation.gradient !== null},
    forward: () => {
      const filter = updatedKernel(kernel, factors) as tf.Tensor4D;
      if (fuses) {
        const fused = fusedDepthwiseConv2d(x, filter, bias, geometry, activation.fused ?? 'linear');
        return activation.fused === null ? activation.apply(fused) : fused;
      }
      const deferred = defer?.(x, filter, bias);
      if (deferred !== undefined) {
        return deferred;
      }
      const z = tf.depthwiseConv2d(x, filter, strides, padding, 'NHWC', dilations);
      return activation.apply(bias === null ? z : tf.add(z, bias));
    },
    gradient: (dy, saved): Record<string, () => tf.Tensor> => {
      const dz = (activation.gradient === null ? dy : activation.gradient(dy, saved.y)) as tf.Tensor4D;
      const savedFactors = factors && {...factors, a: saved.a, b: saved.b};
      const dx = () => {
        const updated = updatedKernel(saved.kernel, savedFactors) as tf.Tensor4D;
        const outer = epilogueGradient(dz);
        const epilogues = capabilities().fusedConvolution?.epilogues;
        const waits = outer.dy !== dz && dilations.every(rate => rate === 1);
        return (
          (waits ? epilogues?.depthwiseInput(outer, updated, x.shape, geometry) : undefined) ??
          depthwiseGradients.input(dz, inflate(updated, dilations), x.shape, geometry)
        );
      };
      const dBias = () => tf.sum(asMatrix(dz), 0);
      if (!learns) {
        return {x: dx, bias: dBias};
      }
      const kernelGradient = () => {
        const shape = inflatedShape(kernel.shape, dilations);
        return deflate(depthwiseGradients.filter(saved.x as tf.Tensor4D, dz, shape, geometry), dilations);
      };
      const direct = {x: dx, kernel: kernelGradient, bias: dBias};
      return savedFactors === null ? direct : {...direct, ...factorGradients(kernelGradient(), savedFactors)};
    },
  });
}
