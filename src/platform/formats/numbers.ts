import {listed, throwFaults} from '../errors';
import {toBfloat16, toFloat16} from './halfFloats';

/** The data types that this library reads and writes. */
export type FloatType = 'F32' | 'F16' | 'BF16';

/** How to write values that are not finite. */
export interface FiniteOptions {
  /** Writes NaN and infinities as they are, instead of refusing them. Default: false. */
  allowNonFinite?: boolean;
}

/** The name of a type, the bits that are all set in non-finite values, and the least value that rounds to infinity. */
const TYPES: Readonly<Record<FloatType, {name: string; exponent: number; limit: number}>> = {
  F32: {name: 'float32', exponent: 0x7f800000, limit: Infinity},
  F16: {name: 'float16', exponent: 0x7c00, limit: 65520},
  BF16: {name: 'bfloat16', exponent: 0x7f80, limit: (2 - 2 ** -8) * 2 ** 127},
};

/**
 * Writes values, little-endian, rounded to the nearest that `dtype` has, ties to even.
 *
 * @returns whether all written values are finite; `checkNumbers` refuses those that are not.
 */
export function writeNumbers(
  view: DataView,
  offset: number,
  data: Float32Array | BigInt64Array,
  dtype: FloatType,
): boolean {
  let isFinite = true;
  if (data instanceof BigInt64Array) {
    data.forEach((value, i) => view.setBigInt64(offset + 8 * i, value, true));
    return isFinite;
  }
  const {exponent} = TYPES[dtype];
  const bits = new Uint32Array(data.buffer, data.byteOffset, data.length);
  if (dtype === 'F32') {
    bits.forEach((value, i) => {
      view.setUint32(offset + 4 * i, value, true);
      isFinite &&= (value & exponent) !== exponent;
    });
  } else {
    const round = dtype === 'F16' ? toFloat16 : toBfloat16;
    bits.forEach((value, i) => {
      const half = round(value);
      view.setUint16(offset + 2 * i, half, true);
      isFinite &&= (half & exponent) !== exponent;
    });
  }
  return isFinite;
}

/** @throws LoRAError if a finite number would be written as infinite, or one is not finite and that is not allowed. */
export function checkNumbers(
  tensors: Iterable<readonly [name: string, {data: ArrayLike<number | bigint>}]>,
  dtype: FloatType = 'F32',
  {allowNonFinite}: FiniteOptions = {},
): void {
  const {name, limit} = TYPES[dtype];
  const [tooLarge, broken]: [string[], string[]] = [[], []];
  for (const [tensor, {data}] of tensors) {
    const numbers = data instanceof Float32Array ? data : new Float32Array();
    if (numbers.some(value => Number.isFinite(value) && Math.abs(value) >= limit)) {
      tooLarge.push(tensor);
    }
    if (allowNonFinite !== true && !numbers.every(Number.isFinite)) {
      broken.push(tensor);
    }
  }
  const way = 'Go back to finite weights, or pass {allowNonFinite: true} (--allow-non-finite on the command line).';
  throwFaults(
    [
      ...(tooLarge.length > 0 ? [`${listed(tooLarge)}: values too large for ${name}. Save as float32.`] : []),
      ...(broken.length > 0 ? [`${listed(broken)}: NaN or infinite, so nothing is written. ${way}`] : []),
    ],
    'ERR_NUMERIC',
  );
}
