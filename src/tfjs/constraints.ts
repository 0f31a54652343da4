import type * as tf from '@tensorflow/tfjs';
import {cloneConfig, type LayerEntry} from './configs';

// A constraint is no part of training in tfjs. It changes what is written to a variable, and so what is loaded from a file.

/** Lets the variables of a layer take any value. */
export function liftConstraints(layer: tf.layers.Layer): void {
  for (const weight of layer.weights) {
    (weight as unknown as {constraint: unknown}).constraint = null;
  }
}

/** A layer's entry without the constraints of its weights, nor of those of cells and layers in it. */
export function withoutConstraints(entry: LayerEntry): LayerEntry {
  return cloneConfig(entry, (key, value) => (key.endsWith('Constraint') && isEntry(value) ? null : value));
}

/** Whether something is an object of tfjs as configs hold it. */
function isEntry(value: unknown): boolean {
  return typeof (value as Partial<LayerEntry> | null)?.className === 'string';
}
