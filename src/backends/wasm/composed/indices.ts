import * as tf from '@tensorflow/tfjs';
import {newKernel, wrappedKernel} from '../../shared/kernel';
import {heapViews} from './heap';
import type {OwnKernel} from '../../shared/registration';

/** The backend's own writes integers, whatever the type of the result, and four bytes for each truth value. */
const oneHot = newKernel<{indices: tf.Tensor}, tf.OneHotAttrs>(
  tf.OneHot,
  ({inputs: {indices}, attrs: {dtype, depth, onValue, offValue}, backend}) => {
    const out = backend.makeOutput([...indices.shape, depth], dtype);
    const [places, values] = heapViews(backend, indices, out) as [Int32Array, Float32Array];
    values.fill(offValue);
    places.forEach((place, row) => {
      if (place >= 0 && place < depth) {
        values[row * depth + place] = onValue;
      }
    });
    return out;
  },
);

type Scattered = Record<'indices' | 'sparseIndices' | 'params' | 'tensor', tf.Tensor>;
type Shapes = Partial<Record<'shape' | 'outputShape', number[]>>;

/** Refuses what the cpu backend refuses: positions outside of a tensor. The backend itself reads or writes there. */
function refusingOutside(name: string): OwnKernel {
  return wrappedKernel<Partial<Scattered>, Shapes>(name, stock => call => {
    const {inputs, attrs, backend} = call;
    const {params, tensor} = inputs;
    const indices = (inputs.indices ?? inputs.sparseIndices) as tf.Tensor;
    const shape = (params ?? tensor)?.shape ?? attrs.shape ?? attrs.outputShape ?? [];
    if (params === undefined && shape.includes(0)) {
      return stock(call); // writes nothing
    }
    // In a scatter, a list has a place along the first axis for each update.
    const depth = indices.rank > 1 || params !== undefined ? (indices.shape.at(-1) ?? 1) : 1;
    const indexed = shape.slice(0, depth);
    const strides = [...tf.util.computeStrides(indexed), 1];
    const [places] = heapViews(backend, indices) as [Int32Array];
    for (let row = 0; row < places.length; row += depth) {
      const position = strides.reduce((sum, stride, axis) => sum + stride * (places[row + axis] ?? 0), 0);
      if (position < 0 || position >= tf.util.sizeFromShape(indexed)) {
        throw new Error(
          `Invalid indices: ${places.slice(row, row + depth).join()} does not index into ${shape.join()}`,
        );
      }
    }
    return stock(call);
  });
}

export const indexKernels: readonly OwnKernel[] = [
  oneHot,
  ...[tf.GatherNd, tf.ScatterNd, tf.TensorScatterUpdate, tf.SparseToDense].map(refusingOutside),
];
