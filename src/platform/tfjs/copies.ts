import * as tf from '@tensorflow/tfjs';
import {holds} from './engine';

// npm may install TensorFlow.js twice, and a page may load it once in a script and once in a bundle. Each copy has its
// own classes of layers, and copies in different realms have their own tensors too.

/** What is wrong with an object of another copy of TensorFlow.js, and the way out. */
export const OTHER_COPY =
  `of another copy of TensorFlow.js than the one that tfjs-lora works with (${tf.version_core}). See ` +
  '`npm ls @tensorflow/tfjs-layers`, then `npm dedupe`, or name one version under "overrides" in package.json; a ' +
  'page loads tfjs from a script or in the bundle, not both.';

/** Whether something is a layer or a layers model of another copy of TensorFlow.js. */
export function isLayerOfOtherCopy(value: unknown): boolean {
  return (
    !(value instanceof tf.layers.Layer) && hasAll(value, ['getClassName', 'getConfig', 'apply', 'computeOutputShape'])
  );
}

/** Whether something is a graph model, of any copy of TensorFlow.js. */
export function isGraphModel(value: unknown): boolean {
  return (
    value instanceof tf.GraphModel || (!hasAll(value, ['getConfig']) && hasAll(value, ['executeAsync', 'predict']))
  );
}

/** Whether something is a tensor that the engine of this copy of TensorFlow.js does not hold. */
export function isTensorOfOtherCopy(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || !('dataId' in value)) {
    return false;
  }
  const {dataId, isDisposed} = value as tf.Tensor;
  return !isDisposed && !holds(dataId);
}

/** Whether something is a `tf.data.Dataset`, of any copy: what it gives are tensors. */
export function isDataset(value: unknown): value is tf.data.Dataset<tf.TensorContainer> {
  return value instanceof tf.data.Dataset || hasAll(value, ['forEachAsync', 'iterator']);
}

function hasAll(value: unknown, methods: readonly string[]): boolean {
  const fields = (value ?? {}) as Record<string, unknown>;
  return methods.every(method => typeof fields[method] === 'function');
}
