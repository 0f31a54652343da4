import * as tf from '@tensorflow/tfjs';
import {runLazyOp} from './lazyOp';

/** The part of tfjs's tape that says which tensor was computed from which. */
interface TapeNode {
  inputs: Record<string, tf.Tensor>;
  outputs: tf.Tensor[];
}

/** How far a tape has been read, and which tensors on it depend on a variable that trains. */
interface Reading {
  read: number;
  dependent: Set<number>;
}

/** By tape: it is a new list for each gradient that is taken. */
const readings = new WeakMap<TapeNode[], Reading>();

/**
 * Whether a tensor depends on a variable that trains, going by what is being recorded right now. Where it does not, nothing that is
 * computed from it alone will be asked for a gradient in a training step.
 */
export function dependsOnTrainable(x: tf.Tensor): boolean {
  if (x instanceof tf.Variable) {
    return x.trainable;
  }
  const {activeTape} = tf.engine().state as unknown as {activeTape: TapeNode[] | null};
  if (activeTape === null) {
    return false;
  }
  const reading = readings.get(activeTape) ?? {read: 0, dependent: new Set()};
  readings.set(activeTape, reading);
  for (; reading.read < activeTape.length; reading.read++) {
    const {inputs, outputs} = activeTape[reading.read] as TapeNode;
    if (Object.values(inputs).some(input => dependent(input, reading))) {
      outputs.forEach(({id}) => reading.dependent.add(id));
    }
  }
  return reading.dependent.has(x.id);
}

function dependent(x: tf.Tensor, {dependent: known}: Reading): boolean {
  return known.has(x.id) || (x instanceof tf.Variable && x.trainable);
}

/** Computes something without recording how: nothing is kept for a backward pass that will not come. */
export function withoutRecording<T extends tf.Tensor | tf.Tensor[]>(compute: () => T): T {
  return runLazyOp({
    inputs: {},
    save: {x: false, y: false},
    forward: compute,
    gradient: () => ({}),
  }) as T;
}
