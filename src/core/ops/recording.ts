import * as tf from '@tensorflow/tfjs';
import {currentTape, keepingTape, type TapeNode} from '../../platform/tfjs/engine';
import {addAll} from './addAll';
import {runLazyOp} from '../../platform/tfjs/lazyOp';
import {isolated} from '../../platform/tfjs/heldTensors';

/** How far a tape has been read, and which tensors on it depend on a variable that trains. */
interface Reading {
  read: number;
  dependent: Set<number>;
}

/** By tape: each gradient has a new list. */
const readings = new WeakMap<readonly TapeNode[], Reading>();

/**
 * Whether a tensor depends on a variable that trains, according to what is being recorded right now. If not, a training
 * step asks for no gradient of what is computed from it alone.
 */
export function dependsOnTrainable(x: tf.Tensor): boolean {
  if (x instanceof tf.Variable) {
    return x.trainable;
  }
  const tape = currentTape();
  if (tape === undefined) {
    return false;
  }
  const reading = readings.get(tape) ?? {read: 0, dependent: new Set()};
  readings.set(tape, reading);
  for (; reading.read < tape.length; reading.read++) {
    const {inputs, outputs} = tape[reading.read] as TapeNode;
    if (Object.values(inputs).some(input => dependent(input, reading))) {
      outputs.forEach(({id}) => reading.dependent.add(id));
    }
  }
  return reading.dependent.has(x.id);
}

function dependent(x: tf.Tensor, {dependent: known}: Reading): boolean {
  return known.has(x.id) || (x instanceof tf.Variable && x.trainable);
}

/**
 * Computes something from `x` as one step of the tape, without keeping intermediate tensors. If its gradient is
 * requested, it is computed again and recorded (gradient checkpointing, arXiv 1604.06174).
 *
 * @param compute must return the same both times, so it must not be random, and must not hold tensors that are disposed
 *     with the step.
 */
export function checkpointed<T extends tf.Tensor | tf.Tensor[]>(compute: (x: tf.Tensor) => T, x: tf.Tensor): T {
  return runLazyOp({
    inputs: {x},
    save: {x: true},
    forward: () => compute(x),
    gradient: (dy, saved) => ({x: () => gradientOf(compute, saved.x, [dy].flat())}),
  }) as T;
}

/**
 * As `checkpointed`, for computations with variables that train: one further pass gives the gradients in all of them.
 *
 * @param others more inputs: a mask, without a gradient, and a bias.
 */
export function recomputed(
  compute: (x: tf.Tensor, others: readonly tf.Tensor[]) => tf.Tensor,
  {x, others: [mask, bias], variables}: {x: tf.Tensor; others: readonly tf.Tensor[]; variables: readonly tf.Tensor[]},
): tf.Tensor {
  const named = Object.fromEntries(variables.map((variable, i) => [`variable${i}`, variable]));
  const reachesX = dependsOnTrainable(x);
  const reachesBias = bias !== undefined && dependsOnTrainable(bias);
  return runLazyOp({
    inputs: {x, ...(mask && {mask}), ...(bias && {bias}), ...named},
    save: {x: true, mask: mask !== undefined, bias: bias !== undefined},
    forward: () =>
      compute(
        x,
        [mask, bias].filter(other => other !== undefined),
      ),
    gradient: (dy, saved): Record<string, () => tf.Tensor> => {
      const sources = [...(reachesX ? [saved.x] : []), ...(reachesBias ? [saved.bias] : []), ...variables];
      const gradients = keepingTape(() => {
        const others = [...(mask ? [saved.mask] : []), ...(bias ? [saved.bias] : [])];
        const again = () => compute(saved.x, others);
        return isolated(() => tf.engine().gradients(again, sources, dy, true)).grads;
      });
      const of = (i: number) => gradients[i] ?? tf.zerosLike(sources[i] as tf.Tensor);
      const ofBias = reachesX ? 1 : 0;
      const first = ofBias + (reachesBias ? 1 : 0);
      return {
        x: () => (reachesX ? of(0) : tf.zerosLike(saved.x)),
        ...(bias && {bias: () => (reachesBias ? of(ofBias) : tf.zerosLike(saved.bias))}),
        ...Object.fromEntries(variables.map((_, i) => [`variable${i}`, () => of(first + i)])),
      };
    },
  });
}

/** Computes tensors without recording, so that they pass on no gradient. */
export function unrecorded(compute: () => tf.Tensor[]): tf.Tensor[] {
  return [runLazyOp({inputs: {}, save: {}, forward: compute, gradient: () => ({})})].flat();
}

/** The gradient in `x` for the given gradients of the results, taken in the middle of another backward pass. */
function gradientOf(
  compute: (x: tf.Tensor) => tf.Tensor | tf.Tensor[],
  x: tf.Tensor,
  dys: readonly tf.Tensor[],
): tf.Tensor {
  return keepingTape(() => {
    const product = (z: tf.Tensor) => {
      const terms = [compute(z)].flat().map((y, i) => tf.sum<tf.Scalar>(tf.mul(y, dys[i] ?? 0)));
      return addAll(terms);
    };
    // A computation may read only the shape of x.
    const [gradient] = tf.engine().gradients(() => product(x), [x], undefined, true).grads;
    return gradient ?? tf.zerosLike(x);
  });
}
