import * as tf from '@tensorflow/tfjs';
import {fieldsOf} from './fields';

// The inputs of a layer, as tfjs passes them.
//
// A recurrent layer takes initial states besides its input: in one list with it, or by keyword. Stock layers change
// their input specification during such a call.

/** The inputs of `apply`: values, or symbolic tensors. */
export type Inputs = tf.Tensor | tf.Tensor[] | tf.SymbolicTensor | tf.SymbolicTensor[];

export function takesStates(layer: tf.layers.Layer): boolean {
  const {cell, forwardLayer} = fieldsOf<{cell?: unknown; forwardLayer?: unknown}>(layer);
  return cell !== undefined || forwardLayer !== undefined;
}

/** The arguments of `apply`, with states that are in a model's graph in the list of inputs, as in the graph. */
export function withStatesAsInputs(inputs: Inputs, kwargs: {initialState?: unknown}): [inputs: Inputs, kwargs: object] {
  const {initialState, ...otherKwargs} = kwargs;
  const states = [initialState].flat() as tf.SymbolicTensor[];
  const inGraph = states[0] instanceof tf.SymbolicTensor;
  return inGraph ? [[...([inputs].flat() as tf.SymbolicTensor[]), ...states], otherKwargs] : [inputs, kwargs];
}

/** Frees the states that a stateful layer keeps from batch to batch. It cannot be called again. */
export function disposeStates(layer: tf.layers.Layer): void {
  interface Stateful {
    states_?: tf.Tensor[] | null;
    keptStates?: tf.Tensor[][];
    forwardLayer?: tf.layers.Layer;
    backwardLayer?: tf.layers.Layer;
  }
  const fields = fieldsOf<Stateful>(layer);
  tf.dispose([fields.states_ ?? [], fields.keptStates ?? []]);
  [fields.forwardLayer, fields.backwardLayer].forEach(direction => direction && disposeStates(direction));
}

/** The shapes of a layer's inputs, as a list. tfjs passes a single one without a list. */
export function shapesOf(inputShape: tf.Shape | tf.Shape[]): [tf.Shape, ...tf.Shape[]] {
  return (Array.isArray(inputShape[0]) ? inputShape : [inputShape]) as [tf.Shape, ...tf.Shape[]];
}
