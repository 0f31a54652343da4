import type * as tf from '@tensorflow/tfjs';
import {BY_PLACE, isJson, type Json, kerasEntry, type KerasEntry, someInside} from './json';

export interface KerasFile {
  root: KerasEntry;
  isKeras3: boolean;
  /** The version of Keras that wrote it, if the file says so. */
  version: string | undefined;
}

/** Recognizes files that Keras wrote, and not tfjs. */
export function recognize({modelTopology, weightSpecs = []}: tf.io.ModelArtifacts): KerasFile | undefined {
  const {model_config: inner = modelTopology, keras_version: version} = isJson(modelTopology) ? modelTopology : {};
  const entry = kerasEntry(inner);
  const isKeras3 = /^([3-9]|\d\d)\./.test(String(version)) || someInside(inner, isModern);
  const isForeign = isKeras3 || /^\d/.test(String(version)) || weightSpecs.some(({name}) => BY_PLACE.test(name));
  const versionText = typeof version === 'string' ? version : undefined;
  return entry !== undefined && isForeign ? {root: entry, isKeras3, version: versionText} : undefined;
}

/** Whether only Keras 3 can have written an object, in a topology without a version. */
function isModern({class_name: className, batch_shape: shape}: Json): boolean {
  return className === '__keras_tensor__' || className === 'DTypePolicy' || shape !== undefined;
}
