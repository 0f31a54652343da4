import type * as tf from '@tensorflow/tfjs';
import {isJson, kerasEntry, type KerasEntry} from './json';
import {hasOtherForm} from './layerConfigs';

/** A file of Keras that tfjs cannot read. */
export interface KerasFile {
  given: KerasEntry;
  isKeras3: boolean;
  /** Which Keras wrote it, where it says so. */
  version: string | undefined;
}

/** What a file is, if it is one of Keras that tfjs cannot read. */
export function recognize({modelTopology, weightSpecs = []}: tf.io.ModelArtifacts): KerasFile | undefined {
  const {model_config: inner = modelTopology, keras_version: version} = isJson(modelTopology) ? modelTopology : {};
  const given = kerasEntry(inner);
  const isKeras3 = /^([3-9]|\d\d)\./.test(String(version)) || isModern(inner);
  // `.keras` files name weights by their places.
  const isByPlace = weightSpecs.some(({name}) => /\/vars\/\d+$/.test(name));
  const isForeign = isKeras3 || isByPlace || hasOtherForm(inner);
  const known = typeof version === 'string' ? version : undefined;
  return given !== undefined && isForeign ? {given, isKeras3, version: known} : undefined;
}

/** Whether a topology without a version has what Keras 3 alone writes. */
function isModern(value: unknown): boolean {
  if (!isJson(value)) {
    return Array.isArray(value) && value.some(isModern);
  }
  const isMark = value.class_name === '__keras_tensor__' || value.class_name === 'DTypePolicy';
  return isMark || value.batch_shape !== undefined || Object.values(value).some(isModern);
}
