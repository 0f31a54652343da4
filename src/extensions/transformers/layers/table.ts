import * as tf from '@tensorflow/tfjs';
import {misfitError, showShape} from '../../../platform/errors';

type Table = [name: string, shape: tf.Shape, dtype: 'float32', initializer: ReturnType<typeof tf.initializers.zeros>];

/**
 * Adds a table of `rows` vectors to a layer, as wide as its input. It takes the layer's `addWeight`, because that is
 * protected.
 */
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
