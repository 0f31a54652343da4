import * as tf from '@tensorflow/tfjs';
import {damagedError, show, tooLargeError} from '../../platform/errors';
import {sizeOf} from '../../platform/formats/layout';
import type {SharedSide} from '../methods/method';
import {sharedParameters} from '../methods/registry';

/** The most values that shared tensors are unpacked to: 256 MiB. */
const MAX_SHARED_VALUES = 2 ** 26;

/** Converts the config of an adapter to that of a file, and the file's record of parts. */
export function withoutParts(packed: unknown): {config: unknown; parts: unknown} {
  if (typeof packed !== 'object' || packed === null || !('parts' in packed)) {
    return {config: packed, parts: undefined};
  }
  const {parts, ...config} = packed;
  return {config, parts};
}

/**
 * Restores the tensors of a file that are parts of others. The inverse of `packShared`.
 *
 * @throws LoRAError if a part belongs to no tensor that is there, or all of them together are too large. Then the
 * tensors are freed.
 */
export function unpackShared(parts: unknown, tensors: Record<string, tf.Tensor>): Record<string, tf.Tensor> {
  if (parts === undefined) {
    return tensors;
  }
  try {
    return unpacked(Object.entries((parts ?? {}) as Record<string, unknown>), tensors);
  } catch (error) {
    tf.dispose(tensors);
    throw error;
  }
}

function unpacked(
  entries: readonly (readonly [string, unknown])[],
  tensors: Record<string, tf.Tensor>,
): Record<string, tf.Tensor> {
  let numbers = 0;
  const sides = sharedParameters();
  const checked = entries.map(([key, shape]) => {
    const name = key.slice(key.lastIndexOf('/') + 1);
    const side = sides.get(name);
    const sharedMatrix = side && tensors[name];
    const isShape = Array.isArray(shape) && shape.every(size => Number.isInteger(size) && (size as number) > 0);
    const slice = isShape && sharedMatrix !== undefined ? sliceOf(side ?? 'rows', shape as number[]) : [];
    if (
      sharedMatrix?.rank !== 2 ||
      slice.length === 0 ||
      !slice.every((size, axis) => size <= (sharedMatrix.shape[axis] ?? 0))
    ) {
      throw damagedError(`The adapter's file is broken: ${key} of shape ${show(shape)} is no part of what it holds.`);
    }
    numbers += sizeOf(slice);
    return {key, sharedMatrix, slice, shape: shape as number[]};
  });
  if (numbers > MAX_SHARED_VALUES) {
    throw tooLargeError(
      `The adapter's file would make ${numbers} values of its shared tensors, more than ${MAX_SHARED_VALUES}.`,
    );
  }
  for (const {key, sharedMatrix, slice, shape} of checked) {
    tensors[key] = tf.tidy(() => tf.reshape(tf.slice(sharedMatrix, [0, 0], slice), shape));
  }
  for (const name of sides.keys()) {
    tensors[name]?.dispose();
    Reflect.deleteProperty(tensors, name);
  }
  return tensors;
}

/** The shape of a part as a matrix. */
function sliceOf(side: SharedSide, shape: number[]): [number, number] {
  const last = shape.at(-1) ?? 1;
  const [first = 1] = shape;
  return side === 'rows' ? [sizeOf(shape.slice(0, -1)), last] : [first, sizeOf(shape.slice(1))];
}
