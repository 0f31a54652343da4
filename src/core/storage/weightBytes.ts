import * as tf from '@tensorflow/tfjs';
import {unsupportedError} from '../../platform/errors';
import {concatenate} from '../../platform/formats/byteReader';

/** Bytes per value, by the type in which tfjs stores it. */
const BYTES: Partial<Record<string, number>> = {
  float32: 4,
  int32: 4,
  bool: 1,
  complex64: 8,
  float16: 2,
  uint16: 2,
  uint8: 1,
};

/** Each string is preceded by its length. */
const STRING_LENGTH_BYTES = 4;

/**
 * The bytes of weights as handlers pass them. For a view, such as a Buffer of Node, only the bytes of the view count.
 * tfjs would read its whole buffer, which may contain other data.
 */
export function joinedWeights(weightData: tf.io.WeightData = []): Uint8Array<ArrayBuffer> {
  if (weightData instanceof ArrayBuffer) {
    return new Uint8Array(weightData); // what may be large is not copied
  }
  const parts: (ArrayBuffer | ArrayBufferView)[] = [weightData].flat();
  return concatenate(
    parts.map(part =>
      ArrayBuffer.isView(part) ? new Uint8Array(part.buffer, part.byteOffset, part.byteLength) : new Uint8Array(part),
    ),
  );
}

/** Whether a value of a file has the form of a weight's spec. */
export function isSpec(spec: unknown): spec is tf.io.WeightsManifestEntry {
  const {name, dtype, shape, quantization} = (spec ?? {}) as Partial<Record<string, unknown>>;
  return (
    typeof name === 'string' &&
    name !== '__proto__' && // tfjs puts tensors under their names
    typeof dtype === 'string' &&
    Array.isArray(shape) &&
    shape.every(size => Number.isInteger(size) && (size as number) >= 0) &&
    (quantization === undefined || (typeof quantization === 'object' && quantization !== null))
  );
}

/**
 * How many bytes weights of these specs take, without looking at any; `undefined` if there are strings among them,
 * which carry their own lengths.
 *
 * @throws LoRAError if tfjs cannot read a type.
 */
export function bytesOfSpecs(specs: readonly tf.io.WeightsManifestEntry[]): number | undefined {
  let bytes = 0;
  let hasStrings = false;
  for (const spec of specs) {
    const valueBytes = bytesOfValue(spec);
    hasStrings ||= valueBytes === undefined;
    bytes += tf.util.sizeFromShape(spec.shape) * (valueBytes ?? STRING_LENGTH_BYTES);
  }
  return hasStrings ? undefined : bytes;
}

/**
 * How many bytes weights of these specs take, where strings have the lengths that `bytes` gives them. If `bytes` ends
 * too early it is more than there are, and the work is no more than there are bytes.
 *
 * @throws LoRAError if tfjs cannot read a type.
 */
export function measureSpecs(specs: readonly tf.io.WeightsManifestEntry[], bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let offset = 0;
  for (const spec of specs) {
    const size = tf.util.sizeFromShape(spec.shape);
    const valueBytes = bytesOfValue(spec);
    if (valueBytes !== undefined) {
      offset += size * valueBytes;
      continue;
    }
    for (let i = 0; i < size; i++) {
      if (offset + STRING_LENGTH_BYTES > view.byteLength) {
        return offset + (size - i) * STRING_LENGTH_BYTES;
      }
      offset += STRING_LENGTH_BYTES + view.getUint32(offset, true);
    }
  }
  return offset;
}

function bytesOfValue({name, dtype, quantization}: tf.io.WeightsManifestEntry): number | undefined {
  const stored = quantization?.dtype ?? dtype;
  const valueBytes = BYTES[stored];
  if (valueBytes === undefined && stored !== 'string') {
    throw unsupportedError(`Weight "${name}" is stored as ${stored}, which TensorFlow.js cannot read.`);
  }
  return valueBytes;
}
