import * as tf from '@tensorflow/tfjs';

/**
 * The weights of the places of a square grid, `edge` by `edge`, for each of `count` patches of images that have other
 * grids: bilinear interpolation with antialiasing, as PyTorch resizes without `align_corners`. Patches after the last
 * one of an image have the weights of the first.
 *
 * @param grids the rows and columns of each image, `[batch, 2]`.
 * @returns `[batch·count, edge²]`.
 */
export function gridWeights(grids: tf.Tensor2D, count: number, edge: number): tf.Tensor2D {
  return tf.tidy(() => {
    const [batch] = grids.shape;
    const sizes = tf.expandDims<tf.Tensor3D>(grids, 1); // [batch, 1, 2]
    const [rows, columns] = tf.split(sizes, 2, 2) as [tf.Tensor3D, tf.Tensor3D];
    const positions = tf.reshape<tf.Rank.R3>(tf.range(0, count), [1, count, 1]);
    // From the middle of a patch the quotient is no whole number, so inexact division does not matter.
    const row = tf.floor(tf.div(tf.add(positions, 0.5), columns));
    const column = tf.sub(positions, tf.mul(row, columns));
    const isPatch = tf.cast(tf.less(positions, tf.mul(rows, columns)), 'float32');
    const places = tf.mul(tf.concat([row, column], 2), isPatch); // [batch, count, 2]
    const scale = tf.div(edge, sizes);
    const centers = tf.sub(tf.mul(tf.add(places, 0.5), scale), 0.5);
    const source = tf.reshape(tf.range(0, edge), [1, 1, 1, edge]);
    const distances = tf.abs(tf.sub(source, tf.expandDims(centers, 3)));
    const near = tf.relu(tf.sub(1, tf.div(distances, tf.expandDims(tf.maximum(scale, 1), 3)))); // [batch, count, 2, edge]
    const [down, across] = tf.split(tf.div(near, tf.sum(near, 3, true)), 2, 2) as [tf.Tensor4D, tf.Tensor4D];
    return tf.reshape(tf.mul(tf.reshape(down, [batch, count, edge, 1]), across), [batch * count, edge * edge]);
  });
}
