import * as tf from '@tensorflow/tfjs';
import {newKernel, wrappedKernel} from '../../shared/kernel';
import {heapViews} from './heap';
import type {OwnKernel} from '../../shared/registration';
import {bilinear, nearest, resizeGradient, resizeGradientKernel} from '../../shared/resizing';

/** Smaller tensors are left to the backend. */
const SMALL = 2 ** 12;

/** Sums, over rows in the order in which the backend itself would add. */
export const sumKernels: readonly OwnKernel[] = [
  /**
   * `UnsortedSegmentSum`: out[s] = Σ x[i] over the rows i with segmentIds[i] = s; rows of other ids are left out.
   *
   * x [n, …], segmentIds [n] → [numSegments, …]. It is the gradient of `gather`, and so of an embedding. Truth values
   * are counted.
   */
  newKernel<{x: tf.Tensor; segmentIds: tf.Tensor}, tf.UnsortedSegmentSumAttrs>(
    tf.UnsortedSegmentSum,
    ({inputs: {x, segmentIds}, attrs: {numSegments}, backend}) => {
      const row = x.shape.slice(segmentIds.rank);
      const size = tf.util.sizeFromShape(row);
      const out = backend.makeOutput([numSegments, ...row], x.dtype === 'bool' ? 'int32' : x.dtype);
      const [values, ids, sums] = heapViews(backend, x, segmentIds, out) as [Float32Array, Int32Array, Float32Array];
      sums.fill(0);
      ids.forEach((segment, i) => {
        if (segment < 0 || segment >= numSegments) {
          return;
        }
        const from = i * size;
        const to = segment * size;
        for (let j = 0; j < size; j++) {
          sums[to + j] = (sums[to + j] as number) + (values[from + j] as number);
        }
      });
      return out;
    },
  ),

  /**
   * `Sum` over the leading axes, for which the backend first transposes. It is the gradient of a bias. A sum of nothing
   * is 0, where the backend leaves what its memory held.
   */
  wrappedKernel<{x: tf.Tensor}, tf.SumAttrs>(tf.Sum, stock => call => {
    const {
      inputs: {x},
      attrs,
      backend,
    } = call;
    const axes = tf.util.parseAxisParam(attrs.axis, x.shape).sort((a, b) => a - b);
    if (x.size === 0) {
      const [shape] = tf.backend_util.computeOutAndReduceShapes(x.shape, axes);
      return tf.zeros(attrs.keepDims ? tf.backend_util.expandShapeToKeepDim(shape, axes) : shape, x.dtype);
    }
    const isLeading = axes.length < x.rank && axes.every((axis, i) => axis === i);
    if (!isLeading || x.dtype !== 'float32' || x.size < SMALL) {
      return stock(call);
    }
    const remainingShape = x.shape.slice(axes.length);
    const outShape = attrs.keepDims ? [...axes.map(() => 1), ...remainingShape] : remainingShape;
    const out = backend.makeOutput(outShape, x.dtype);
    const [values, sums] = heapViews(backend, x, out) as [Float32Array, Float32Array];
    sumRows(values, sums);
    return out;
  }),

  /**
   * `ResizeNearestNeighborGrad` of images that were enlarged by whole factors, `UpSampling2D`: each number is the sum
   * over a block. The backend computes the position of each value; XNNPACK has the means of blocks. It ignores half
   * pixels, and aligned corners of one row or column.
   */
  wrappedKernel<{images: tf.Tensor4D; dy: tf.Tensor4D}, tf.ResizeNearestNeighborGradAttrs>(
    tf.ResizeNearestNeighborGrad,
    stock => call => {
      const {
        inputs: {images, dy},
        attrs,
      } = call;
      const {alignCorners, halfPixelCenters} = attrs;
      const [rows, columns] = [1, 2].map(axis => (dy.shape[axis] as number) / (images.shape[axis] as number)) as [
        number,
        number,
      ];
      if (alignCorners || !Number.isInteger(rows) || !Number.isInteger(columns) || dy.dtype !== 'float32') {
        const isLine = images.shape[1] === 1 || images.shape[2] === 1;
        return halfPixelCenters || (alignCorners && isLine)
          ? resizeGradient(dy, images.shape, nearest, attrs)
          : stock(call);
      }
      const block: [number, number] = [rows, columns];
      return tf.tidy(() => tf.mul(tf.avgPool(dy, block, block, 'valid'), rows * columns));
    },
  ),

  /** The backend's own ignores half pixels. */
  resizeGradientKernel(tf.ResizeBilinearGrad, bilinear, ({halfPixelCenters}) => halfPixelCenters),
];

/** sums[j] = Σ values[i, j], four rows at a time, rounded after each addition. */
function sumRows(values: Float32Array, sums: Float32Array): void {
  const {fround} = Math;
  const size = sums.length;
  const rows = values.length / size;
  const fours = rows - (rows % 4);
  sums.fill(0);
  for (let row = 0; row < fours; row += 4) {
    const a = row * size;
    const b = a + size;
    const c = b + size;
    const d = c + size;
    for (let j = 0; j < size; j++) {
      const two = fround(fround((sums[j] as number) + (values[a + j] as number)) + (values[b + j] as number));
      sums[j] = fround(two + (values[c + j] as number)) + (values[d + j] as number);
    }
  }
  for (let row = fours; row < rows; row++) {
    for (let j = 0; j < size; j++) {
      sums[j] = (sums[j] as number) + (values[row * size + j] as number);
    }
  }
}
