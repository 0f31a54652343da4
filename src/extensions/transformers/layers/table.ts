import * as tf from '@tensorflow/tfjs';
import {misfitError, showShape} from '../../../platform/errors';

type Table = [name: string, shape: tf.Shape, dtype: 'float32', initializer: ReturnType<typeof tf.initializers.zeros>];

/** Adds to a layer a table of `rows` vectors as wide as its input, by its protected `addWeight`. */
export function addTable(
  layer: tf.layers.Layer,
  shape: tf.Shape,
  rows: number,
  add: (table: Table) => tf.LayerVariable,
): tf.LayerVariable {
  const width = shape.at(-1);
  if (shape.length !== 3 || width == null) {
    throw misfitError(`"${layer.name}" takes sequences, [batch, positions, width], got ${showShape(shape)}.`);
  }
  return add(['embeddings', [rows, width], 'float32', tf.initializers.randomNormal({stddev: 0.02})]);
}
