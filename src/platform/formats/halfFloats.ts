// Bits of IEEE 754 numbers. float16: 1 sign, 5 exponent, 10 mantissa bits. bfloat16: the upper half of a float32.

/** The value of 16 bits as float16. */
export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0x1f) {
    return mantissa === 0 ? sign * Infinity : NaN;
  }
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** The float16 nearest to the float32 with these bits; of two that are equally near, the even one. */
export function toFloat16(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) {
    return sign | 0x7e00; // NaN
  }
  if (magnitude >= 0x477ff000) {
    return sign | 0x7c00; // 65520 and above round to infinity
  }
  if (magnitude >= 0x38800000) {
    // From 2^-14 on: 13 bits of the mantissa go, and the exponent's bias falls from 127 to 15.
    return sign | ((magnitude + 0xfff + ((magnitude >>> 13) & 1) - 0x38000000) >>> 13);
  }
  if (magnitude < 0x33000000) {
    return sign; // below 2^-25
  }
  // Subnormal: a multiple of 2^-24. The last, 1024, is 2^-14 and has its bits.
  const drop = 126 - (magnitude >>> 23);
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const quotient = mantissa >>> drop;
  const remainder = mantissa - (quotient << drop);
  const half = 1 << (drop - 1);
  return sign | (quotient + (remainder > half || (remainder === half && (quotient & 1) === 1) ? 1 : 0));
}

/** The float32 bits of 16 bits of bfloat16. */
export function fromBfloat16(bits: number): number {
  return (bits << 16) >>> 0;
}

/** The bfloat16 nearest to the float32 with these bits; of two that are equally near, the even one. */
export function toBfloat16(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) {
    return (bits >>> 16) | 0x40; // a NaN whose payload sits in the lower half must stay one
  }
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}
