import * as tf from '@tensorflow/tfjs';
import type {AdapterConfig} from '../adapter/adapter';
import {LoRAError, show} from '../errors';
import {sizeOf, toTorch, type Values} from '../formats/layout';

// The layers of VeRA have parts of two tensors, which a file holds once: the first rows of one, `[fan-in, rank]`, and the first columns of the other,
// `[rank, out]`. The config of the file says which part each tensor is.

const NAMES = ['vera_A', 'vera_B'] as const;

/** The shapes of the tensors that are parts of those under the last part of their names. */
type Parts = Readonly<Record<string, readonly number[]>>;

/** What a file holds. */
export interface Packed {
  config: AdapterConfig & {parts?: Parts};
  values: Readonly<Record<string, Values>>;
}

/** Puts tensors that are the beginning of one together. Where layers have random factors of their own, these stay. */
export function packShared(config: AdapterConfig, values: Readonly<Record<string, Values>>): Packed {
  const packed = {...values};
  const parts: Record<string, readonly number[]> = {};
  for (const name of NAMES) {
    const own = Object.keys(values).filter(key => key.endsWith(`/${name}`));
    const matrices = own.map(key => ({key, ...rowsOf(name, values[key] as Values)}));
    const [first, ...others] = [...matrices].sort((one, other) => other.data.length - one.data.length);
    const [, rank] = first?.shape ?? [];
    const alike = others.every(({shape, data}) => shape[1] === rank && data.every((x, i) => x === first?.data[i]));
    if (first === undefined || others.length === 0 || !alike) {
      continue;
    }
    const {key} = first;
    const whole = values[key] as Values;
    packed[name] = {
      ...whole,
      shape: name === 'vera_A' ? [first.shape[0], first.shape[1]] : [first.shape[1], first.shape[0]],
    };
    for (const each of own) {
      parts[each] = (values[each] as Values).shape;
      Reflect.deleteProperty(packed, each);
    }
  }
  return Object.keys(parts).length === 0 ? {config, values} : {config: {...config, parts}, values: packed};
}

/** A random factor with a row for each input or output. */
function rowsOf(name: (typeof NAMES)[number], {shape, data}: Values): {shape: [number, number]; data: Float32Array} {
  const rank = (name === 'vera_A' ? shape.at(-1) : shape[0]) ?? 1;
  const rows = data.length / rank;
  return name === 'vera_A'
    ? {shape: [rows, rank], data}
    : {shape: [rows, rank], data: toTorch({shape: [rank, rows], data}).data};
}

/** As many numbers as are made of a file that says so: 256 MiB. */
const MOST_NUMBERS = 2 ** 26;

/** The config of an adapter in that of a file, and what the file says of parts. */
export function withoutParts(packed: unknown): {config: unknown; parts: unknown} {
  if (typeof packed !== 'object' || packed === null || !('parts' in packed)) {
    return {config: packed, parts: undefined};
  }
  const {parts, ...config} = packed;
  return {config, parts};
}

/**
 * Gives the tensors of a file back that are parts of others. The inverse of {@link packShared}.
 *
 * @throws LoRAError if a part belongs to no tensor that is there, or all of them together are too large. Then the tensors are freed.
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
  const checked = entries.map(([key, shape]) => {
    const name = NAMES.find(each => key.endsWith(`/${each}`));
    const whole = name === undefined ? undefined : tensors[name];
    const isShape = Array.isArray(shape) && shape.every(size => Number.isInteger(size) && (size as number) > 0);
    const slice = isShape && whole !== undefined ? sliceOf(name ?? '', shape as number[]) : [];
    if (whole?.rank !== 2 || slice.length === 0 || !slice.every((size, axis) => size <= (whole.shape[axis] ?? 0))) {
      throw new LoRAError(`The adapter's file is broken: ${key} of shape ${show(shape)} is no part of what it holds.`);
    }
    numbers += sizeOf(slice);
    return {key, whole, slice, shape: shape as number[]};
  });
  if (numbers > MOST_NUMBERS) {
    throw new LoRAError(
      `The adapter's file would make ${numbers} numbers of its shared tensors, more than ${MOST_NUMBERS}.`,
    );
  }
  for (const {key, whole, slice, shape} of checked) {
    tensors[key] = tf.tidy(() => tf.reshape(tf.slice(whole, [0, 0], slice), shape));
  }
  for (const name of NAMES) {
    tensors[name]?.dispose();
    Reflect.deleteProperty(tensors, name);
  }
  return tensors;
}

/** A part of a random factor as a matrix. */
function sliceOf(name: string, shape: number[]): [number, number] {
  const last = shape.at(-1) ?? 1;
  const [first = 1] = shape;
  return name === 'vera_A' ? [sizeOf(shape.slice(0, -1)), last] : [first, sizeOf(shape.slice(1))];
}
