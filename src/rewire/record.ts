import type * as tf from '@tensorflow/tfjs';
import type {HeadConfig} from '../adapter/adapter';
import {isWrapper} from '../layers/wrapperLayer';
import {fieldsOf} from '../tfjs/fields';
import {containersOf, isContainer, sitesOf} from './walk';

/** What an adapted model remembers of its original that its layers cannot say of themselves. */
export interface AdaptationRecord {
  /** By path, with the model itself as '': the flags and the metadata of the original's containers. */
  structure: Record<string, {trainable: boolean; metadata?: object}>;
  /** By layer path: the rank that was asked for, where it was lowered. */
  capped: Record<string, number>;
  /** The new head that the original had. */
  head?: HeadConfig;
}

// A rebuild from config loses the flags and metadata of nested models, and so does a file. The record is therefore part of a layer's
// config: the first wrapper's. The metadata of the model would be another place, but it is the user's.

/** What to record of a model that is about to be adapted. */
export function makeRecord(
  model: tf.LayersModel,
  capped: Record<string, number>,
  head: HeadConfig | undefined,
): AdaptationRecord {
  const structure: AdaptationRecord['structure'] = {};
  for (const [path, container] of containersOf(model)) {
    const metadata = metadataOf(container);
    structure[path] = {trainable: container.trainable, ...(metadata && {metadata})};
  }
  return {structure, capped, ...(head && {head})};
}

/** The record of an adapted model; an empty one for a model that was built by hand. */
export function recordOf(model: tf.LayersModel): AdaptationRecord {
  for (const {layer} of sitesOf(model)) {
    const text = isWrapper(layer) ? layer.record : undefined;
    if (text !== undefined) {
      return JSON.parse(text) as AdaptationRecord;
    }
  }
  return {structure: {}, capped: {}};
}

/** Gives an adapted model the metadata of its original, nested models included. */
export function carryMetadata(model: tf.LayersModel, adapted: tf.LayersModel): void {
  const originals = new Map(containersOf(model));
  for (const [path, container] of containersOf(adapted)) {
    setMetadata(container, metadataOf(originals.get(path)));
  }
}

/** Gives a model that was made from an adapted one the flags of the original, and the metadata as they are now. */
export function restoreStructure(adapted: tf.LayersModel, plain: tf.LayersModel): void {
  const {structure} = recordOf(adapted);
  const current = new Map(containersOf(adapted));
  for (const [path, container] of containersOf(plain)) {
    const {trainable = true, metadata} = structure[path] ?? {};
    if (container.trainable !== trainable) {
      container.trainable = trainable;
    }
    setMetadata(container, metadataOf(current.get(path)) ?? metadata);
  }
}

function setMetadata(container: tf.layers.Layer, metadata: object | undefined): void {
  if (metadata !== undefined && isContainer(container)) {
    container.setUserDefinedMetadata(metadata);
  }
}

/** The metadata that a model carries. */
function metadataOf(layer: tf.layers.Layer | undefined): object | undefined {
  return layer && fieldsOf<{userDefinedMetadata?: object}>(layer).userDefinedMetadata;
}
