import * as tf from '@tensorflow/tfjs';
import {currentTape, keepingTape, type TapeNode} from '../../platform/tfjs/engine';
import {addAll} from './addAll';
import {isolated, runLazyOp} from '../../platform/tfjs/lazyOp';

/** How far a tape has been read, and which tensors on it depend on a variable that trains. */
interface Reading {
  read: number;
  dependent: Set<number>;
}

/** Tape → what was read from it. Each gradient has a new tape. */
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

/** The variables that train and that were used in what is being recorded. */
export function recordedVariables(): tf.Variable[] {
  const inputs = (currentTape() ?? []).flatMap(node => Object.values(node.inputs));
  return [...new Set(inputs.filter(input => input instanceof tf.Variable && input.trainable))] as tf.Variable[];
}

function dependent(x: tf.Tensor, {dependent: dependents}: Reading): boolean {
  return dependents.has(x.id) || (x instanceof tf.Variable && x.trainable);
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
 * As `checkpointed`, for computations with several inputs and variables that train: one further pass gives the
 * gradients in all of them.
 */
export function recomputed(
  compute: (inputs: readonly tf.Tensor[]) => tf.Tensor,
  {inputs, variables}: {inputs: readonly tf.Tensor[]; variables: readonly tf.Tensor[]},
): tf.Tensor {
  const names = inputs.map((_, i) => `x${i}`);
  const keys = [...names, ...variables.map((_, i) => `variable${i}`)];
  const reached = inputs.map(dependsOnTrainable);
  return runLazyOp({
    inputs: Object.fromEntries([...inputs, ...variables].map((x, i) => [keys[i], x])) as Record<string, tf.Tensor>,
    save: Object.fromEntries(names.map(name => [name, true])),
    forward: () => compute(inputs),
    gradient: (dy, saved): Record<string, () => tf.Tensor> => {
      const again = names.map(name => saved[name] as tf.Tensor);
      const sources = [...again.filter((_, i) => reached[i]), ...variables];
      const gradients = keepingTape(
        () => isolated(() => tf.engine().gradients(() => compute(again), sources, dy, true)).grads,
      );
      const of = (x: tf.Tensor) => gradients[sources.indexOf(x)] ?? tf.zerosLike(x);
      const entries = [...again, ...variables].map((x, i) => [keys[i], () => of(x)] as const);
      return Object.fromEntries(entries) as Record<string, () => tf.Tensor>;
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
