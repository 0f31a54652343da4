import type * as tf from '@tensorflow/tfjs';
import type {HeadConfig} from '../adapter/adapter';
import {checkHeadConfig} from '../adapter/headConfig';
import {damagedError, isRecord} from '../../platform/errors';
import {isWrapper} from '../layers/wrapperLayer';
import {containersOf, sitesOf} from './walk';
import {isContainer} from '../../platform/tfjs/checkModel';

/** The state of an adapted model's original that its layers do not hold. */
interface AdaptationRecord {
  /** By path, with the model itself as '': the flags and the metadata of the original's containers. */
  structure: Record<string, {trainable: boolean; metadata?: object}>;
  /** The requested rank by layer path, if it was lowered. */
  capped: Record<string, number>;
  /** The new head of the original. */
  head?: HeadConfig;
}

// A rebuild from config loses the flags and metadata of nested models, and so does a file. So the record is in the
// config of the first wrapper. The model's own metadata is the user's.

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

/**
 * The record of an adapted model; an empty one for a model that was built by hand.
 *
 * @throws LoRAError if it is damaged.
 */
export function recordOf(model: tf.LayersModel): AdaptationRecord {
  for (const {layer} of sitesOf(model)) {
    const text = isWrapper(layer) ? layer.record : undefined;
    if (text !== undefined) {
      return readRecord(text);
    }
  }
  return {structure: {}, capped: {}};
}

/** Reads a record, which may come from a file. */
function readRecord(text: string): AdaptationRecord {
  const damaged = "The record of the adapted model's original is damaged";
  const advice = 'Load it from an undamaged file.';
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch (error) {
    throw damagedError(`${damaged}: it is not valid JSON. ${advice}`, {cause: error});
  }
  const {structure, capped, head} = (record ?? {}) as Partial<Record<keyof AdaptationRecord, unknown>>;
  const isStructure = isRecordOf(
    structure,
    entry =>
      isRecord(entry) &&
      typeof entry.trainable === 'boolean' &&
      (entry.metadata === undefined || isRecord(entry.metadata)),
  );
  if (!isStructure || !isRecordOf(capped, entry => Number.isSafeInteger(entry) && Number(entry) > 0)) {
    throw damagedError(`${damaged}: it must describe the original layers, and the ranks that were lowered. ${advice}`);
  }
  checkHeadConfig(head);
  // Layers may have the names of properties that every object has.
  return {...(record as AdaptationRecord), structure: ownOnly(structure), capped: ownOnly(capped)} as AdaptationRecord;
}

function isRecordOf(value: unknown, test: (entry: unknown) => boolean): value is Record<string, unknown> {
  return isRecord(value) && Object.values(value).every(test);
}

function ownOnly(value: Record<string, unknown>): Record<string, unknown> {
  return Object.assign(Object.create(null) as Record<string, unknown>, value);
}

export function carryMetadata(model: tf.LayersModel, adapted: tf.LayersModel): void {
  const originals = new Map(containersOf(model));
  for (const [path, container] of containersOf(adapted)) {
    setMetadata(container, metadataOf(originals.get(path)));
  }
}

/** Gives a model that was made from an adapted one the flags of the original, and the metadata as they are now. */
export function restoreStructure(adapted: tf.LayersModel, plain: tf.LayersModel): void {
  setStructure(plain, adapted, recordOf(adapted).structure);
}

/** Gives a model that was rebuilt from a plain one the flags and metadata of that. */
export function copyStructure(model: tf.LayersModel, rebuilt: tf.LayersModel): void {
  setStructure(rebuilt, model, makeRecord(model, {}, undefined).structure);
}

function setStructure(rebuilt: tf.LayersModel, model: tf.LayersModel, structure: AdaptationRecord['structure']): void {
  const current = new Map(containersOf(model));
  for (const [path, container] of containersOf(rebuilt)) {
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
  return layer !== undefined && isContainer(layer) ? layer.getUserDefinedMetadata() : undefined;
}
