import {damagedError, unsupportedError} from '../../platform/errors';

// NumPy's format of one array in a file: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

/** An array of 32-bit floats. */
export interface FloatArray {
  shape: number[];
  values: Float32Array;
}

const MAGIC = [0x93, ...new TextEncoder().encode('NUMPY')];

/** Writes an array in NumPy's format, version 1.0, little-endian, in C order. */
export function toNPY({shape, values}: FloatArray): Uint8Array {
  const tuple = `(${shape.join(', ')}${shape.length === 1 ? ',' : ''})`;
  const said = `{'descr': '<f4', 'fortran_order': False, 'shape': ${tuple}, }`;
  // The data begins at a multiple of 64.
  const length = Math.ceil((MAGIC.length + 4 + said.length + 1) / 64) * 64 - MAGIC.length - 4;
  const header = new TextEncoder().encode(`${said.padEnd(length - 1)}\n`);
  const bytes = new Uint8Array(MAGIC.length + 4 + length + 4 * values.length);
  bytes.set([...MAGIC, 1, 0, length & 0xff, length >> 8]);
  bytes.set(header, MAGIC.length + 4);
  const view = new DataView(bytes.buffer, MAGIC.length + 4 + length);
  values.forEach((value, i) => view.setFloat32(4 * i, value, true));
  return bytes;
}

/**
 * Reads an array in NumPy's format, of 32-bit or 64-bit floats, in either order. 64-bit floats are rounded.
 *
 * @throws LoRAError for anything else, or if the number of values does not match the shape.
 */
export function fromNPY(bytes: Uint8Array): FloatArray {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = bytes[MAGIC.length];
  if (bytes.length < 12 || MAGIC.some((byte, i) => bytes[i] !== byte) || !(version === 1 || version === 2)) {
    throw damagedError("The bytes are not an array in NumPy's format.");
  }
  const start = version === 1 ? 10 : 12;
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const header = new TextDecoder().decode(bytes.subarray(start, start + length));
  const [, type] = /'descr': '([^']*)'/.exec(header) ?? [];
  const [, sizes] = /'shape': \(([\d, ]*)\)/.exec(header) ?? [];
  const [, order] = /'fortran_order': (True|False)/.exec(header) ?? [];
  if (sizes === undefined || order === undefined || !(type === '<f4' || type === '<f8')) {
    throw unsupportedError(
      'Arrays must hold little-endian floats of 32 or 64 bits, such as numpy.float32, got ' +
        `${JSON.stringify(header.slice(0, 100).trim())}.`,
    );
  }
  const shape = sizes
    .split(',')
    .filter(size => size.trim() !== '')
    .map(Number);
  const count = shape.reduce((product, size) => product * size, 1);
  const width = type === '<f4' ? 4 : 8;
  const from = start + length;
  if (count * width !== bytes.length - from) {
    throw damagedError(`An array of shape [${shape.join(', ')}] came with ${bytes.length - from} bytes.`);
  }
  const values = new Float32Array(count);
  // In Fortran order the first index varies fastest; NumPy writes transposed arrays this way.
  const indices = order === 'True' ? columnMajor(shape) : undefined;
  for (let i = 0; i < count; i++) {
    const at = from + width * (indices?.[i] ?? i);
    values[i] = width === 4 ? view.getFloat32(at, true) : view.getFloat64(at, true);
  }
  return {shape, values};
}

/** Returns the column-major index of each value in row-major order. */
function columnMajor(shape: readonly number[]): number[] {
  let indices = [0];
  let stride = 1;
  for (const size of shape) {
    const step = stride;
    indices = indices.flatMap(index => Array.from({length: size}, (_, i) => index + i * step));
    stride *= size;
  }
  return indices;
}
