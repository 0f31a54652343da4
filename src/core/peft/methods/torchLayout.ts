import {reshape, transpose, type Values} from '../../../platform/formats/layout';

// Conversion between the layouts of PyTorch and tfjs, and small matrix products. Only exchange with PEFT needs them.

/** A weight of PyTorch, or its factor `A`, in the order of tfjs. The inverse of `toTorch`. */
export function fromTorch(values: Values): Values {
  const [, , ...space] = values.shape.keys();
  return transpose(values, values.shape.length > 1 ? [...space, 1, 0] : [0]);
}

/** A depthwise kernel of PyTorch, `[in·multiplier, 1, kh, kw]`, in the order of tfjs, `[kh, kw, in, multiplier]`. */
export function depthwiseFromTorch(values: Values, channels: number): Values {
  const {shape, data} = transpose(values, [2, 3, 0, 1]);
  const [kh = 1, kw = 1, out = 1] = shape;
  return {shape: [kh, kw, channels, out / channels], data};
}

/** The inverse of `depthwiseFromTorch`. */
export function depthwiseToTorch(values: Values): Values {
  const [kh = 1, kw = 1, channels = 1, multiplier = 1] = values.shape;
  return transpose(reshape(values, [kh, kw, channels * multiplier, 1]), [2, 3, 0, 1]);
}

/** The matrix product `[n, k] · [k, m]`, summed in double precision and rounded once. */
export function multiply(
  one: Float32Array,
  other: Float32Array,
  [n, k, m]: readonly [number, number, number],
): Float32Array {
  const result = new Float32Array(n * m);
  const sums = new Float64Array(m);
  for (let row = 0; row < n; row++) {
    sums.fill(0);
    for (let inner = 0; inner < k; inner++) {
      const factor = one[row * k + inner] ?? 0;
      for (let column = 0; column < m; column++) {
        sums[column] = (sums[column] ?? 0) + factor * (other[inner * m + column] ?? 0);
      }
    }
    result.set(sums, row * m);
  }
  return result;
}

/** The identity matrix `[n, n]`. */
export function identity(n: number): Float32Array {
  const result = new Float32Array(n * n);
  for (let i = 0; i < n; i++) {
    result[i * n + i] = 1;
  }
  return result;
}
