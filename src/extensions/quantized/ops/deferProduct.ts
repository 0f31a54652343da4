import * as tf from '@tensorflow/tfjs';
import {cloneOf, defer} from '../../../backends/shared/deferred';
import type {DeferredProduct} from '../../../backends/shared/jointProducts';
import {registerKernels} from '../../../backends/shared/registration';
import {isRecording} from '../../../platform/tfjs/engine';
import {runLazyOp} from '../../../platform/tfjs/lazyOp';
import {type AdaptedMatrix, type JointProducts, quantizedKernels} from '../kernels/quantizedKernels';
import {addKernel} from './addKernel';

interface Waiting extends DeferredProduct {
  /** The input as the tape knows it, and a clone. */
  readonly x: tf.Tensor;
  readonly heldX: tf.Tensor;
  readonly operand: AdaptedMatrix;
  readonly heldOperand: AdaptedMatrix;
  readonly kernels: JointProducts;
}

/**
 * `x·Wᵀ + s·(x·A)·B`, `[.., width]` → `[.., rows]`, computed once something reads it: together with others of the same
 * input, or with what is added to it. `undefined` where the backend has no program for that.
 */
export function deferProduct(x: tf.Tensor, operand: AdaptedMatrix): tf.Tensor | undefined {
  const kernels = quantizedKernels(operand.matrix.format)?.joint;
  if (kernels?.takes(x, [operand], false) !== true) {
    return undefined;
  }
  registerKernels(tf.getBackend(), [addKernel]);
  return recorded(kernels, x, [operand], () => {
    const held: tf.Tensor[] = [];
    const hold = (tensor: tf.Tensor) => {
      const clone = cloneOf(tensor);
      held.push(clone);
      return clone;
    };
    const {blocks, matrix, factors} = operand;
    const heldX = hold(x);
    const heldOperand = {
      blocks: hold(blocks),
      matrix,
      factors: factors && {...factors, a: hold(factors.a), b: hold(factors.b)},
    };
    const compute = (added: tf.Tensor | null) => kernels.forward(heldX, [heldOperand], added);
    const waiting: Waiting = {
      ...{x, heldX, operand, heldOperand, kernels, held},
      compute: () => compute(null),
      joined: siblings => joinedProducts([waiting, ...(siblings as Waiting[])]),
      plus: other =>
        tf.util.arraysEqual(other.shape, shape) && kernels.takes(x, [operand], true) ? compute(other) : undefined,
    };
    const shape = [...x.shape.slice(0, -1), matrix.rows];
    return defer(shape, waiting);
  });
}

function joinedProducts(products: readonly Waiting[]): tf.Tensor | undefined {
  const [{kernels, x, heldX}] = products as readonly [Waiting];
  const isOne = products.every(product => product.heldX.dataId === heldX.dataId && product.kernels === kernels);
  // The tape knows the tensors themselves, and without it they may be gone.
  const isTaped = isRecording();
  const parts = products.map(({operand, heldOperand}) => (isTaped ? operand : heldOperand));
  return isOne && !(isTaped && x.isDisposed) && kernels.takes(heldX, parts, false)
    ? recorded(kernels, isTaped ? x : heldX, parts, () => kernels.forward(heldX, parts, null))
    : undefined;
}

/** Products as one step of the tape. */
function recorded(
  kernels: JointProducts,
  x: tf.Tensor,
  parts: readonly AdaptedMatrix[],
  forward: () => tf.Tensor,
): tf.Tensor {
  const names = parts.flatMap(({factors}, i) => (factors ? [`a${i}`, `b${i}`] : []));
  const tensors = parts.flatMap(({factors}) => (factors ? [factors.a, factors.b] : []));
  const inputs = Object.fromEntries(names.map((name, i) => [name, tensors[i] as tf.Tensor]));
  return runLazyOp({
    inputs: {x, ...inputs},
    save: {x: names.length > 0, ...Object.fromEntries(names.map(name => [name, true]))},
    forward,
    gradient: (dy, saved: Readonly<Record<string, tf.Tensor>>) => {
      const savedParts = parts.map(({factors, ...operand}, i) => ({
        ...operand,
        factors: factors && {...factors, a: saved[`a${i}`] as tf.Tensor, b: saved[`b${i}`] as tf.Tensor},
      }));
      const {ofInput, ofFactors} = kernels.backward(saved.x ?? dy, dy, savedParts);
      const gradients = ofFactors(); // tensors made for one gradient are disposed of before another is requested
      const ofNames = names.map((name, i) => [name, () => gradients[i] as tf.Tensor] as const);
      return {x: ofInput, ...Object.fromEntries(ofNames)};
    },
  });
}
