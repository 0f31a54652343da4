import * as tf from '@tensorflow/tfjs';

/** An affine transformation: `x' = a·x + b·y + c`, `y' = d·x + e·y + f`. */
export type Affine = readonly [a: number, b: number, c: number, d: number, e: number, f: number];

/** A rotation in radians, from the x-axis to the y-axis; a scale; a shift in pixels; whether to mirror horizontally. */
export interface Change {
  rotation: number;
  scale: number;
  shift: readonly [number, number];
  isMirrored: boolean;
}

/** A transformation around the center of an image, plus the shift. Mirroring comes first. */
export function aroundCenter([width, height]: readonly [number, number], change: Change): Affine {
  const {rotation, scale, shift, isMirrored} = change;
  const [cos, sin, side] = [scale * Math.cos(rotation), scale * Math.sin(rotation), isMirrored ? -1 : 1];
  const [x, y] = [width / 2, height / 2];
  const [a, b, d, e] = [side * cos, -sin, side * sin, cos];
  return [a, b, x + shift[0] - a * x - b * y, d, e, y + shift[1] - d * x - e * y];
}

export function inverse([a, b, c, d, e, f]: Affine): Affine {
  const determinant = a * e - b * d;
  const [a1, b1, d1, e1] = [e / determinant, -b / determinant, -d / determinant, a / determinant];
  return [a1, b1, -(a1 * c + b1 * f), d1, e1, -(d1 * c + e1 * f)];
}

/** Transforms each image of a batch, interpolated bilinearly. `fill` is the value outside of an image. */
export function moveImages(images: tf.Tensor4D, changes: readonly Affine[], fill: number): tf.Tensor4D {
  const [, height, width, channels] = images.shape;
  // One by one: on cpu tfjs 4.22 transforms only the first image of a batch, and leaves the others empty.
  const moved = changes.map((change, i) => {
    const image = tf.slice(images, [i, 0, 0, 0], [1, height, width, channels]);
    // tfjs takes the inverse map, from a pixel of the result to its source, with coordinates of pixel centers.
    const [a, b, c, d, e, f] = inverse(change);
    const origin = tf.tensor2d([[a, b, c + (a + b - 1) / 2, d, e, f + (d + e - 1) / 2, 0, 0]]);
    return tf.image.transform(image, origin, 'bilinear', 'constant', fill);
  });
  return tf.concat(moved);
}

/** Transforms the landmarks `[batch, points, values]` of each example. */
export function movePoints(
  landmarks: tf.Tensor3D,
  changes: readonly Affine[],
  {dimensions, unit: [width, height]}: {dimensions: 2 | 3; unit: readonly [number, number]},
): tf.Tensor3D {
  const [batch, points, valuesPerPoint] = landmarks.shape;
  const matrices = changes.flatMap(([a, b, , d, e]) => [a, (d * width) / height, (b * height) / width, e]);
  const shifts = changes.flatMap(([, , c, , , f]) => [c / width, f / height]);
  // A depth is scaled with the image; values that are not coordinates stay.
  const factors = changes.flatMap(([a, b, , d, e]) =>
    Array.from({length: valuesPerPoint - 2}, (_, i) => (i + 2 < dimensions ? Math.sqrt(Math.abs(a * e - b * d)) : 1)),
  );
  return tf.tidy(() => {
    const plane = tf.slice(landmarks, [0, 0, 0], [batch, points, 2]);
    const rotated = tf.matMul(plane, tf.tensor3d(matrices, [batch, 2, 2]));
    const moved = tf.add<tf.Tensor3D>(rotated, tf.tensor3d(shifts, [batch, 1, 2]));
    if (valuesPerPoint === 2) {
      return moved;
    }
    const higherCoordinates = tf.slice(landmarks, [0, 0, 2], [batch, points, valuesPerPoint - 2]);
    return tf.concat(
      [moved, tf.mul<tf.Tensor3D>(higherCoordinates, tf.tensor3d(factors, [batch, 1, valuesPerPoint - 2]))],
      2,
    );
  });
}
