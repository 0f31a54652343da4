/** Numbers in a shape, row by row. */
export interface Values {
  shape: readonly number[];
  data: Float32Array;
}

/** The values with their axes in another order: axis `i` of the result is axis `order[i]`. */
export function transpose({shape, data}: Values, order: readonly number[]): Values {
  const strides = stridesOf(shape);
  const newShape = order.map(axis => shape[axis] ?? 1);
  const steps = order.map(axis => strides[axis] ?? 0);
  const result = new Float32Array(data.length);
  const index = new Array<number>(order.length).fill(0);
  let from = 0;
  for (let to = 0; to < result.length; to++) {
    result[to] = data[from] ?? 0;
    for (let axis = order.length - 1; axis >= 0; axis--) {
      const next = (index[axis] ?? 0) + 1;
      from += steps[axis] ?? 0;
      if (next < (newShape[axis] ?? 1)) {
        index[axis] = next;
        break;
      }
      from -= next * (steps[axis] ?? 0);
      index[axis] = 0;
    }
  }
  return {shape: newShape, data: result};
}

function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    strides[axis] = (strides[axis + 1] ?? 1) * (shape[axis + 1] ?? 1);
  }
  return strides;
}

/** The same numbers in another shape. */
export function reshape({data}: Values, shape: readonly number[]): Values {
  return {shape, data};
}

/** How many numbers a shape holds. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

// PyTorch has the outputs of a weight first, then the inputs, then space: [out, in, ...space]. tfjs has [...space, in,
// out].

/** A weight of PyTorch, or its factor `A`, in the order of tfjs. */
export function fromTorch(values: Values): Values {
  const {length} = values.shape;
  return transpose(values, [...range(2, length), ...(length > 1 ? [1, 0] : [0])]);
}

/** A weight of tfjs, or its factor `A`, in the order of PyTorch. The inverse of `fromTorch`. */
export function toTorch(values: Values): Values {
  const {length} = values.shape;
  return transpose(values, length > 1 ? [length - 1, length - 2, ...range(0, length - 2)] : [0]);
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

function range(start: number, end: number): number[] {
  return Array.from({length: Math.max(end - start, 0)}, (_, i) => start + i);
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
