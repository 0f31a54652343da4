import * as tf from '@tensorflow/tfjs';
import {capabilities} from '../../backends/shared/capabilities';
import {cloneOf, defer, type Deferred, deferredOf} from '../../backends/shared/deferred';
import type {AdaptedProduct, FusedConvolution, PlainConvolution, Scaling} from '../../backends/shared/launches';
import {type ConvSettings, geometryOf} from '../../backends/shared/geometry';
import {isRecording} from '../../platform/tfjs/engine';
import {cappedReluGradient, reluGradient} from './activation';
import {fusedConv2d} from './convolutionKernels';
import {throughEpilogue} from './epilogueGradients';
import {asMatrix, factorGradients, type Factors, gained, updatedKernel} from './factors';
import {type Call, type Form, stockOutput} from './linear';
import {runLazyOp} from '../../platform/tfjs/lazyOp';

// In training, a convolution, its frozen normalization and its relu are computed together, though they are separate
// layers. The first two return tensors that are not computed yet; the last layer of the chain computes all three. If
// something else needs a result in between, such as a second layer or a cut in the model, that result is computed
// separately. The caller sees no difference.

/** Identifies a layer from one step to the next. */
type Owner = object;

/** Layers whose result something else has requested. From then on they compute it immediately. */
const asked = new WeakSet();

/** A convolution, and the normalization after it, if any. */
interface Links {
  readonly convolution: PlainConvolution;
  readonly scaling?: Scaling;
}

/** Links that are not computed yet. */
type Chain = Links & Deferred;

/** A convolution that waits for the operations after it, or `undefined` if it runs immediately. */
export function deferConvolution(
  owner: Owner,
  convolution: Omit<PlainConvolution, 'strides' | 'padding'>,
  {strides, padding, dilations}: ConvSettings,
): tf.Tensor | undefined {
  const plain = {...convolution, strides, padding};
  const isDilated = dilations.some(rate => rate !== 1);
  if (!isRecording() || isDilated || asked.has(owner) || capabilities().fusedConvolution?.takes(plain) !== true) {
    return undefined;
  }
  return deferChain(owner, {convolution: plain}, ({convolution: {x, filter, bias, depthwise, update}}) => {
    if (update !== undefined) {
      const {adaptedProduct} = capabilities();
      return (adaptedProduct as AdaptedProduct).forward(x, {kernel: filter, ...update}, {...(bias && {t: bias})});
    }
    if (!depthwise) {
      return fusedConv2d(x, filter, bias, {strides, padding, dilations}, 'linear');
    }
    const y = tf.depthwiseConv2d(x, filter, strides, padding);
    return bias === null ? y : tf.add(y, bias);
  });
}

/** The normalization of a deferred convolution: deferred too, or both computed. `undefined` for any other input. */
export function normalizeChain(owner: Owner, input: tf.Tensor, scaling: Scaling): tf.Tensor | undefined {
  const recordedChain = chainOf(input);
  if (recordedChain === undefined || recordedChain.chain.scaling !== undefined) {
    return undefined;
  }
  const {convolution} = recordedChain.chain;
  const compute = (chain: Links) => recordedChain.fused.normalized(chain.convolution, scaling);
  return asked.has(owner) ? compute({convolution}) : deferChain(owner, {convolution, scaling}, compute);
}

/** Defers a chain, which owns clones of its tensors. */
function deferChain(owner: Owner, {convolution, scaling}: Links, compute: (links: Links) => tf.Tensor): tf.Tensor {
  const held: tf.Tensor[] = [];
  const hold = <T extends tf.Tensor>(tensor: T, cloned = tf.clone(tensor)): T => {
    held.push(cloned);
    return cloned;
  };
  const links: Links = {
    convolution: {
      ...convolution,
      x: hold(convolution.x),
      filter: hold(convolution.filter),
      bias: convolution.bias && hold(convolution.bias),
      update: convolution.update && {
        ...convolution.update,
        a: hold(convolution.update.a, cloneOf(convolution.update.a)),
        b: hold(convolution.update.b, cloneOf(convolution.update.b)),
      },
    },
    ...(scaling && {scaling: {m: hold(scaling.m), t: hold(scaling.t)}}),
  };
  const chain: Chain = {...links, held, compute: () => compute(links), onRead: () => void asked.add(owner)};
  const {x, filter, strides, padding, depthwise} = convolution;
  const {n, height, width, channelsOut} = geometryOf(x.shape, filter.shape, {strides, pad: padding}, depthwise);
  return defer([n, height.output, width.output, channelsOut], chain);
}

/**
 * `min(max(x, 0), cap)` where `x` is a convolution and its normalization that are not computed yet: computes all three
 * together, and keeps one bit of each value for the backward pass. `undefined` for any other input.
 */
export function rectifyChain(x: tf.Tensor, cap: number): tf.Tensor | undefined {
  const inputChain = chainOf(x);
  const scaling = inputChain?.chain.scaling;
  if (inputChain === undefined || scaling === undefined) {
    return undefined;
  }
  const {chain, fused} = inputChain;
  const [y, bits] = runLazyOp({
    inputs: {x},
    save: {mask: true},
    forward: () => fused.rectified(chain.convolution, scaling, cap),
    gradient: (dy, {mask}) => ({
      x: () => {
        const composed = cap === Infinity ? reluGradient : cappedReluGradient(cap);
        return fused.masked?.(dy, mask) ?? throughEpilogue(dy, {y: mask, cap}) ?? composed(dy, mask);
      },
    }),
  }) as [tf.Tensor, tf.Tensor];
  bits.dispose();
  return y;
}

/**
 * The form of a deferred convolution whose kernel has size 1 and whose gain trains, as in DoRA:
 * `y = x ∗ (g ⊙ (W + s·A·B)) + b`.
 *
 * Elsewhere, the gain multiplies the products, which are kept for its gradient. A deferred convolution never makes its
 * products. The gradient of the whole kernel, which is cheap at this size, gives those of the gain and of the weights.
 */
export function updateGainedKernel(call: Call, factors: Factors, gain: tf.Tensor): Form {
  const {op, x, kernel} = call;
  const {scaling} = factors;
  return {
    saves: {x: true},
    forward: ending => [stockOutput(call, gained(updatedKernel(kernel, factors), gain), ending)],
    gradients: (dz, saved) => {
      const v = updatedKernel(saved.kernel, {...saved, scaling});
      const dw = op.kernelGradient(saved.x, dz, kernel.shape);
      const dv = gained(dw, saved.gain);
      return {
        x: () => op.inputGradient(dz, gained(v, saved.gain), x.shape),
        gain: () => tf.sum(asMatrix(tf.mul(dw, v)), 0),
        kernel: () => tf.clone(dv),
        ...factorGradients(dv, {...saved, scaling}),
      };
    },
  };
}

function chainOf(input: tf.Tensor): {chain: Chain; fused: FusedConvolution} | undefined {
  const deferred = deferredOf(input);
  const fused = capabilities().fusedConvolution;
  return deferred !== undefined && 'convolution' in deferred && fused !== undefined
    ? {chain: deferred as Chain, fused}
    : undefined;
}
