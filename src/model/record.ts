import type * as tf from '@tensorflow/tfjs';
import {metadataOf, restoreStructure, type Structure} from './rewire';

/** What an adapted model remembers of its original that its layers cannot say. It travels in the model's metadata. */
export interface AdaptationRecord {
  /** Flags and metadata of the original's containers. */
  structure: Structure;
  /** By layer path: the rank that was asked for, where it was lowered. */
  capped: Record<string, number>;
}

const KEY = 'tfjsLora';

/** Stores the record beside the user's own metadata. */
export function setRecord(model: tf.LayersModel, record: AdaptationRecord): void {
  model.setUserDefinedMetadata({...record.structure['']?.metadata, [KEY]: record});
}

/** The record of an adapted model; an empty one for a model that was built by hand. */
export function recordOf(model: tf.LayersModel): AdaptationRecord {
  const metadata = (metadataOf(model) ?? {}) as {[KEY]?: AdaptationRecord};
  return metadata[KEY] ?? {structure: {}, capped: {}};
}

/** Gives a model that was made from an adapted one the flags and metadata that the original had, and what the user has added since. */
export function restoreFrom(adapted: tf.LayersModel, model: tf.LayersModel): void {
  const {structure} = recordOf(adapted);
  const {[KEY]: record, ...metadata} = (metadataOf(adapted) ?? {}) as Record<string, unknown>;
  const root = structure[''] ?? {trainable: true};
  const hasMetadata = Object.keys(metadata).length > 0 || root.metadata !== undefined;
  restoreStructure(model, {
    ...structure,
    '': {trainable: root.trainable, ...(hasMetadata && {metadata})},
  });
}
