import * as tf from '@tensorflow/tfjs';

/** tfjs supports no more than one batch dimension. The gradient of each value is added where it was gathered from. */
export function withBatchedGather(stock: tf.GradConfig): tf.GradConfig {
  return {
    ...stock,
    gradFunc: (dy, saved, attrs) => {
      const [x, indices] = saved as [tf.Tensor, tf.Tensor];
      const {axis, batchDims} = attrs as unknown as tf.GatherV2Attrs;
      return batchDims === 0
        ? stock.gradFunc(dy, saved, attrs)
        : {
            x: () => tf.tidy(() => scattered(dy as tf.Tensor, x, indices, {axis, batchDims})),
            indices: () => tf.zeros(indices.shape),
          };
    },
  };
}

function scattered(dy: tf.Tensor, x: tf.Tensor, indices: tf.Tensor, {axis, batchDims}: tf.GatherV2Attrs): tf.Tensor {
  const [along = 0] = tf.util.parseAxisParam(axis, x.shape);
  const {batchSize, outerSize, dimSize, sliceSize} = tf.backend_util.segment_util.collectGatherOpShapeInfo(
    x,
    indices,
    along,
    batchDims,
  );
  // The rows of all batches, one after another.
  const rows = tf.transpose(tf.reshape(dy, [batchSize, outerSize, -1, sliceSize]), [0, 2, 1, 3]);
  const starts = tf.reshape(tf.range(0, batchSize * dimSize, dimSize, 'int32'), [batchSize, 1]);
  const places = tf.reshape<tf.Rank.R1>(tf.add(tf.reshape(indices, [batchSize, -1]), starts), [-1]);
  const sums = tf.unsortedSegmentSum(
    tf.reshape(rows, [places.size, outerSize * sliceSize]),
    places,
    batchSize * dimSize,
  );
  const parts = tf.reshape(sums, [batchSize, dimSize, outerSize, sliceSize]);
  return tf.reshape(tf.transpose(parts, [0, 2, 1, 3]), x.shape);
}
