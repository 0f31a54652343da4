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

/** The same values in another shape. */
export function reshape({data}: Values, shape: readonly number[]): Values {
  return {shape, data};
}

/** How many values a shape holds. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/**
 * A weight of tfjs, or its factor `A`, in the order of PyTorch, which has the outputs first, then the inputs, then
 * space: `[out, in, ...space]`. tfjs has `[...space, in, out]`.
 */
export function toTorch(values: Values): Values {
  const {length} = values.shape;
  return transpose(values, length > 1 ? [length - 1, length - 2, ...values.shape.keys()].slice(0, length) : [0]);
}
