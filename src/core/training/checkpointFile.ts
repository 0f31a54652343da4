import * as tf from '@tensorflow/tfjs';
import {damagedError, isRecord, LoRAError, show, unsupportedError} from '../../platform/errors';
import {checksumOf} from '../../platform/formats/checksum';
import {findHandler, isSafetensors, placeOf} from '../storage/places';
import {bytesOfSpecs, isSpec, joinedWeights} from '../storage/weightBytes';
import type {OptimizerState} from './optimizerState';
import type {RandomState} from './randomState';

/** Marks a file as a checkpoint, in the field where model files hold their topology. */
const CLASS_NAME = 'LoRACheckpoint';
const FORMAT = 'tfjs-lora-checkpoint';
const VERSION = 1;

/** Where checkpoints are: a URL, with a number appended if there are several; a handler for one; or a function. */
export type CheckpointPlace = string | URL | tf.io.IOHandler | ((slot: number) => string | URL | tf.io.IOHandler);

/** The fields of a checkpoint besides its tensors. */
export interface CheckpointState {
  /** Counts the checkpoints of a run. */
  number: number;
  /** The epoch in which training goes on, and how many of its batches are done. */
  epoch: number;
  batch: number;
  /** How many steps the run has taken. */
  step: number;
  /** The config of the model's adapter as text; that of an empty adapter for a plain model. */
  config: string;
  optimizer: OptimizerState;
  /** The states of callbacks, by their part. */
  callbacks: Record<string, Record<string, unknown>>;
  /** Random states of the layers with seeded dropout, by path. */
  random: Record<string, RandomState>;
  /** The seed of the training batches. */
  seed?: number;
}

/** A checkpoint: its fields, and tensors by kind and name. */
export interface Checkpoint {
  state: CheckpointState;
  tensors: Record<string, tf.Tensor>;
}

/**
 * The place of checkpoint number `slot` among `keep`.
 *
 * @throws LoRAError if it has no place for so many.
 */
export function slotOf(destination: CheckpointPlace, slot: number, keep: number): string | tf.io.IOHandler {
  if (typeof destination === 'function') {
    return placeOf(destination(slot));
  }
  const place = placeOf(destination);
  if (isSafetensors(place)) {
    throw new LoRAError(
      'A checkpoint cannot be a .safetensors file: it contains more than an adapter. Choose another name.',
    );
  }
  if (keep === 1) {
    return place;
  }
  if (typeof place !== 'string') {
    throw new LoRAError(
      'A handler is one place. Pass keep: 1, a URL, or a function that returns a handler for each number: slot ' +
        '=> handler.',
    );
  }
  return place.endsWith('.json') ? place.replace(/\.json$/, `-${slot}.json`) : `${place}-${slot}`;
}

/** Saves a checkpoint. It is atomic if the handler is. */
export async function writeCheckpoint(place: string | tf.io.IOHandler, {state, tensors}: Checkpoint): Promise<void> {
  const handler = findHandler(place, 'save');
  if (handler.save === undefined) {
    throw new LoRAError('The handler cannot save: it has no save function.');
  }
  const parts = await Promise.all(
    Object.values(tensors).map(async tensor => (await tensor.data<'float32'>()).slice().buffer),
  );
  const weightData = joinedWeights(parts).buffer;
  const text = JSON.stringify(state);
  await handler.save({
    format: FORMAT,
    generatedBy: 'tfjs-lora',
    convertedBy: null,
    modelTopology: {class_name: CLASS_NAME, version: VERSION, state: text, checksum: checksumOf(text, weightData)},
    weightSpecs: Object.entries(tensors).map(([name, {shape, dtype}]) => ({
      name,
      shape: [...shape],
      dtype: dtype as 'float32',
    })),
    weightData,
  });
}

/**
 * Loads a checkpoint. Its tensors are the caller's.
 *
 * @throws LoRAError if what is there is damaged or something else; the handler's own error if it cannot load.
 */
export async function readCheckpoint(place: string | tf.io.IOHandler): Promise<Checkpoint> {
  const handler = findHandler(place, 'load');
  if (handler.load === undefined) {
    throw new LoRAError('The handler cannot load: it has no load function.');
  }
  const {modelTopology, weightSpecs, weightData} = await handler.load();
  const {class_name: className, version, state: text, checksum} = (modelTopology ?? {}) as Record<string, unknown>;
  if (className !== CLASS_NAME || version !== VERSION) {
    throw unsupportedError(
      `This is no checkpoint of version ${VERSION} but ${show(className)}, version ${show(version)}.`,
    );
  }
  const bytes = joinedWeights(weightData).buffer;
  if (typeof text !== 'string' || checksum !== checksumOf(text, bytes)) {
    throw damagedError('The checkpoint is damaged: its checksum does not match.');
  }
  if (
    !Array.isArray(weightSpecs) ||
    !weightSpecs.every(isSpec) ||
    new Set(weightSpecs.map(({name}) => name)).size < weightSpecs.length ||
    bytesOfSpecs(weightSpecs) !== bytes.byteLength
  ) {
    throw damagedError('The checkpoint is damaged: its list of tensors does not agree with its bytes.');
  }
  const state = JSON.parse(text) as CheckpointState;
  checkState(state);
  return {state, tensors: tf.io.decodeWeights(bytes, weightSpecs)};
}

/** @throws LoRAError if it is not a valid state. Whoever writes a file can write a checksum too. */
function checkState(state: unknown): void {
  const {number, epoch, batch, step, config, optimizer, callbacks, random, seed} = (state ?? {}) as Partial<
    Record<keyof CheckpointState, unknown>
  >;
  if (
    ![number, epoch, batch, step].every(count => Number.isSafeInteger(count) && (count as number) >= 0) ||
    typeof config !== 'string' ||
    !isRecord(optimizer) ||
    !isRecord((optimizer as Partial<OptimizerState>).names) ||
    !isRecord(callbacks) ||
    !Object.values(callbacks as object).every(isRecord) ||
    !isRecord(random) ||
    !Object.values(random as object).every(isRandomState) ||
    !(seed === undefined || Number.isSafeInteger(seed))
  ) {
    throw damagedError('The checkpoint is damaged: it does not say where training was.');
  }
}

function isRandomState(value: unknown): boolean {
  const {seed, step} = (value ?? {}) as Partial<Record<keyof RandomState, unknown>>;
  return Number.isFinite(seed) && Number.isSafeInteger(step);
}
