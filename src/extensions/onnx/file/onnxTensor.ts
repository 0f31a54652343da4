import {showShape, unsupportedError} from '../../../platform/errors';
import {fromBfloat16, fromFloat16} from '../../../platform/formats/halfFloats';
import {addFloats, addIntegers, bytesIn, damaged, type Field, integerIn, readFields, textIn} from './protobuf';

/** Values as TensorFlow.js has them: floats, whole numbers of at most 32 bits, bools. */
export type TensorData = Float32Array | Int32Array | Uint8Array;

/** How a type of ONNX is stored, and how it is read. */
interface StoredType {
  name: string;
  bits: number;
  /** The dtype of its values in tfjs. */
  dtype: 'float32' | 'int32' | 'bool';
  /** The value at an index of raw data. */
  read: (view: DataView, index: number) => number;
}

/** By their numbers in ONNX. Others have no counterpart in TensorFlow.js. */
const TYPES: Readonly<Record<number, StoredType>> = {
  1: {name: 'float32', bits: 32, dtype: 'float32', read: (view, i) => view.getFloat32(4 * i, true)},
  2: {name: 'uint8', bits: 8, dtype: 'int32', read: (view, i) => view.getUint8(i)},
  3: {name: 'int8', bits: 8, dtype: 'int32', read: (view, i) => view.getInt8(i)},
  4: {name: 'uint16', bits: 16, dtype: 'int32', read: (view, i) => view.getUint16(2 * i, true)},
  5: {name: 'int16', bits: 16, dtype: 'int32', read: (view, i) => view.getInt16(2 * i, true)},
  6: {name: 'int32', bits: 32, dtype: 'int32', read: (view, i) => view.getInt32(4 * i, true)},
  7: {name: 'int64', bits: 64, dtype: 'int32', read: (view, i) => Number(view.getBigInt64(8 * i, true))},
  9: {name: 'bool', bits: 8, dtype: 'bool', read: (view, i) => Number(view.getUint8(i) !== 0)},
  10: {name: 'float16', bits: 16, dtype: 'float32', read: (view, i) => fromFloat16(view.getUint16(2 * i, true))},
  11: {name: 'double', bits: 64, dtype: 'float32', read: (view, i) => view.getFloat64(8 * i, true)},
  12: {name: 'uint32', bits: 32, dtype: 'int32', read: (view, i) => view.getUint32(4 * i, true)},
  13: {name: 'uint64', bits: 64, dtype: 'int32', read: (view, i) => Number(view.getBigUint64(8 * i, true))},
  16: {name: 'bfloat16', bits: 16, dtype: 'float32', read: (view, i) => float32Of(view.getUint16(2 * i, true))},
  21: {name: 'uint4', bits: 4, dtype: 'int32', read: nibble},
  22: {name: 'int4', bits: 4, dtype: 'int32', read: (view, i) => (nibble(view, i) << 28) >> 28},
};

const OTHERS: Readonly<Record<number, string>> = {8: 'string', 14: 'complex64', 15: 'complex128'};

const bits32 = new DataView(new ArrayBuffer(4));

/** The value of 16 bits of bfloat16. */
function float32Of(bits: number): number {
  bits32.setUint32(0, fromBfloat16(bits));
  return bits32.getFloat32(0);
}

/** Two in a byte, the first in the lower half. */
function nibble(view: DataView, index: number): number {
  return (view.getUint8(index >> 1) >> (4 * (index & 1))) & 15;
}

/** The name of a type in ONNX, and the dtype of its values in tfjs, if there is one. */
export function typeOf(type: number): {name: string; dtype?: StoredType['dtype']} {
  return TYPES[type] ?? {name: OTHERS[type] ?? `type ${type}`};
}

/** Where the bytes of a tensor are, if they are in another file. */
export interface ExternalPlace {
  location: string;
  offset: number;
  length: number | undefined;
}

/** A tensor of an ONNX file. Its values are read when they are asked for. */
export class OnnxTensor {
  /** How many values it has. */
  readonly size: number;

  /**
   * @param stored its bytes, or its values where the file lists them; none if they are outside of the file.
   * @throws LoRAError with the code ERR_DAMAGED if there are more or fewer values than its shape calls for.
   */
  constructor(
    readonly name: string,
    readonly type: number,
    readonly shape: readonly number[],
    private stored: Uint8Array | readonly number[] | undefined,
    readonly external?: ExternalPlace,
  ) {
    this.size = shape.reduce((product, size) => product * size, 1);
    if (!shape.every(size => Number.isSafeInteger(size) && size >= 0) || !Number.isSafeInteger(this.size)) {
      throw damaged(`tensor "${name}" has the shape ${showShape(shape)}`);
    }
    this.checkLength();
  }

  get dtype(): StoredType['dtype'] | undefined {
    return TYPES[this.type]?.dtype;
  }

  /** Its bytes, if they are float32 values as tfjs has them. */
  get bytes(): Uint8Array | undefined {
    return this.type === 1 && this.stored instanceof Uint8Array ? this.stored : undefined;
  }

  /** Takes its bytes from the file that its external place names. */
  supply(file: Uint8Array): void {
    const {offset = 0, length = file.length - offset, location = ''} = this.external ?? {};
    if (!(offset >= 0 && length >= 0 && offset + length <= file.length)) {
      throw damaged(
        `tensor "${this.name}" should have ${length} bytes from byte ${offset} of "${location}", which has ` +
          `${file.length}`,
      );
    }
    this.stored = file.subarray(offset, offset + length);
    this.checkLength();
  }

  /**
   * A copy of its values. Integers beyond 32 bits are clipped.
   *
   * @throws LoRAError with the code ERR_UNSUPPORTED if they have no counterpart in TensorFlow.js.
   */
  values(): TensorData {
    const {type, size, stored, name} = this;
    const layout = TYPES[type];
    if (layout === undefined || stored === undefined) {
      const reason = layout === undefined ? `is of ${typeOf(type).name}` : 'has its values in a file that is missing';
      throw unsupportedError(`Tensor "${name}" ${reason}.`);
    }
    const {dtype, read} = layout;
    if (this.bytes !== undefined) {
      return new Float32Array(Uint8Array.from(this.bytes).buffer);
    }
    const view = viewOf(stored instanceof Uint8Array ? stored : rawBytes(stored, layout));
    const result = new {float32: Float32Array, int32: Int32Array, bool: Uint8Array}[dtype](size);
    for (let i = 0; i < size; i++) {
      const value = read(view, i);
      result[i] = dtype === 'int32' ? Math.min(Math.max(value, -(2 ** 31)), 2 ** 31 - 1) : value;
    }
    return result;
  }

  private checkLength(): void {
    const {stored, size, type, name} = this;
    const layout = TYPES[type];
    if (layout === undefined || stored === undefined) {
      return;
    }
    const isRaw = stored instanceof Uint8Array;
    const expected = isRaw || layout.bits === 4 ? Math.ceil((size * layout.bits) / 8) : size;
    if (stored.length !== expected) {
      throw damaged(
        `tensor "${name}" of ${layout.name} ${showShape(this.shape)} should have ${expected} ` +
          `${isRaw ? 'bytes' : 'values'}, and has ${stored.length}`,
      );
    }
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Listed values as raw data. For types without a separate list, integers contain the bits. */
function rawBytes(values: readonly number[], {bits, name}: StoredType): Uint8Array {
  const bytes = new Uint8Array(Math.ceil((values.length * Math.max(bits, 8)) / 8));
  const view = viewOf(bytes);
  values.forEach((value, i) => {
    if (name === 'float32') {
      view.setFloat32(4 * i, value, true);
    } else if (name === 'double') {
      view.setFloat64(8 * i, value, true);
    } else if (bits === 64) {
      view.setBigInt64(8 * i, BigInt(value), true);
    } else if (bits === 32) {
      view.setInt32(4 * i, value, true);
    } else if (bits === 16) {
      view.setUint16(2 * i, value, true);
    } else {
      view.setUint8(i, value);
    }
  });
  return bytes;
}

/** Reads a TensorProto. */
export function readTensor(message: Uint8Array): OnnxTensor {
  const shape: number[] = [];
  const floats: number[] = [];
  const integers: number[] = [];
  const place = new Map<string, string>();
  let [name, type, isExternal] = ['', 0, false];
  let raw: Uint8Array | undefined;
  const readIntegers = (field: Field) => addIntegers(field, integers);
  readFields(message, {
    1: field => addIntegers(field, shape),
    2: field => (type = integerIn(field)),
    4: field => addFloats(field, floats),
    5: readIntegers,
    7: readIntegers,
    8: field => (name = textIn(field)),
    9: field => (raw = bytesIn(field)),
    10: field => addFloats(field, floats, 8),
    11: readIntegers,
    13: field => place.set(...readEntry(bytesIn(field))),
    14: field => (isExternal = integerIn(field) === 1),
  });
  if (!isExternal) {
    return new OnnxTensor(name, type, shape, raw ?? (type === 1 || type === 11 ? floats : integers));
  }
  const length = place.get('length');
  return new OnnxTensor(name, type, shape, undefined, {
    location: place.get('location') ?? '',
    offset: Number(place.get('offset') ?? 0),
    length: length === undefined ? undefined : Number(length),
  });
}

/** Reads a StringStringEntryProto. */
export function readEntry(message: Uint8Array): [key: string, value: string] {
  let [key, value] = ['', ''];
  readFields(message, {
    1: field => (key = textIn(field)),
    2: field => (value = textIn(field)),
  });
  return [key, value];
}
