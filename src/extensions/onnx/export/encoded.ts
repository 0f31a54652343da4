import {unsupportedError} from '../../../platform/errors';
import {sizeOf} from '../../../platform/formats/layout';
import {checkNumbers, type FiniteOptions, type FloatType, writeNumbers} from '../../../platform/formats/numbers';
import type {Part} from '../file/protobuf';

/** Values that are computed when they are written. */
export interface LateValues {
  shape: readonly number[];
  read(): Promise<Float32Array>;
}

/** The types of floats by their numbers in ONNX. */
const FLOATS: Readonly<Record<number, FloatType>> = {1: 'F32', 10: 'F16', 16: 'BF16'};

/** The values of an input as raw data of a type. */
export function encoded(name: string, input: LateValues, type: number, finite: FiniteOptions): Part {
  const dtype = type === 11 ? 'F32' : FLOATS[type];
  if (dtype === undefined) {
    throw unsupportedError(`Tensor "${name}" is of a type in which a merged weight cannot be stored.`);
  }
  const length = sizeOf(input.shape) * (type === 11 ? 8 : dtype === 'F32' ? 4 : 2);
  return {
    length,
    read: async () => {
      const values = await input.read();
      checkNumbers([[name, {data: values}]], dtype, finite);
      if (type === 11) {
        return new Uint8Array(Float64Array.from(values).buffer);
      }
      if (dtype === 'F32') {
        return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      }
      const bytes = new Uint8Array(length);
      writeNumbers(new DataView(bytes.buffer), 0, values, dtype);
      return bytes;
    },
  };
}
