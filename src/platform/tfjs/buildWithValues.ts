import * as tf from '@tensorflow/tfjs';

/** The method by which layers of tfjs make their weights. It is protected. */
interface WeightMaker {
  addWeight?: (name: string, shape: number[], ...weightArgs: unknown[]) => tf.LayerVariable;
}

/**
 * The index, after the first two arguments, of the one that supplies the initializer of layers that are about to be
 * loaded.
 */
const INITIALIZER = 5;

/**
 * Calls `build`, in which a new layer makes its weights, and lets its own start with the given values, sharing their
 * buffers. tfjs would fill as much memory with zeros first.
 */
export function buildWithValues<T>(layer: tf.layers.Layer, values: ReadonlyMap<string, tf.Tensor>, build: () => T): T {
  const maker = layer as unknown as WeightMaker;
  const add = maker.addWeight as Required<WeightMaker>['addWeight'];
  maker.addWeight = (name, shape, ...weightArgs) => {
    const value = values.get(name);
    if (value !== undefined && tf.util.arraysEqual(shape, value.shape)) {
      // wasm copies what it clones.
      weightArgs[INITIALIZER] = () => ({apply: () => tf.reshape(value, shape)});
    }
    return add.call(layer, name, shape, ...weightArgs);
  };
  try {
    return build();
  } finally {
    delete maker.addWeight;
  }
}
