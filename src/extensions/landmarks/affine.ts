import * as tf from '@tensorflow/tfjs';

/** A change of the plane: `x' = a·x + b·y + c`, `y' = d·x + e·y + f`. */
export type Affine = readonly [a: number, b: number, c: number, d: number, e: number, f: number];

/** A turn (in radians, from the x-axis to the y-axis), a growth, a shift, and whether left and right are exchanged. */
export interface Change {
  turn: number;
  scale: number;
  shift: readonly [number, number];
  isMirrored: boolean;
}

/** A change that leaves the middle of a picture where it is, but for the shift. The mirror comes first. */
export function aroundCenter([width, height]: readonly [number, number], change: Change): Affine {
  const {turn, scale, shift, isMirrored} = change;
  const [cos, sin, side] = [scale * Math.cos(turn), scale * Math.sin(turn), isMirrored ? -1 : 1];
  const [x, y] = [width / 2, height / 2];
  const [a, b, d, e] = [side * cos, -sin, side * sin, cos];
  return [a, b, x + shift[0] - a * x - b * y, d, e, y + shift[1] - d * x - e * y];
}

/** The change that takes another back. */
export function inverse([a, b, c, d, e, f]: Affine): Affine {
  const determinant = a * e - b * d;
  const [a1, b1, d1, e1] = [e / determinant, -b / determinant, -d / determinant, a / determinant];
  return [a1, b1, -(a1 * c + b1 * f), d1, e1, -(d1 * c + e1 * f)];
}

/** Each picture of a batch after its change, bilinear. What comes in from outside is `fill`. */
export function movePictures(pictures: tf.Tensor4D, changes: readonly Affine[], fill: number): tf.Tensor4D {
  const [, height, width, channels] = pictures.shape;
  // One by one: on cpu tfjs 4.22 moves the first picture of a batch, and leaves the others empty.
  const moved = changes.map((change, i) => {
    const picture = tf.slice(pictures, [i, 0, 0, 0], [1, height, width, channels]);
    // tfjs asks where a pixel of the result comes from, and numbers pixels by their middles.
    const [a, b, c, d, e, f] = inverse(change);
    const origin = tf.tensor2d([[a, b, c + (a + b - 1) / 2, d, e, f + (d + e - 1) / 2, 0, 0]]);
    return tf.image.transform(picture, origin, 'bilinear', 'constant', fill);
  });
  return tf.concat(moved);
}

/** Each example's landmarks `[batch, points, numbers]` after its change. */
export function movePoints(
  landmarks: tf.Tensor3D,
  changes: readonly Affine[],
  {dimensions, unit: [width, height]}: {dimensions: 2 | 3; unit: readonly [number, number]},
): tf.Tensor3D {
  const [batch, points, each] = landmarks.shape;
  const matrices = changes.flatMap(([a, b, , d, e]) => [a, (d * width) / height, (b * height) / width, e]);
  const shifts = changes.flatMap(([, , c, , , f]) => [c / width, f / height]);
  // A depth grows as the picture does; what is no place stays.
  const factors = changes.flatMap(([a, b, , d, e]) =>
    Array.from({length: each - 2}, (_, i) => (i + 2 < dimensions ? Math.sqrt(Math.abs(a * e - b * d)) : 1)),
  );
  return tf.tidy(() => {
    const plane = tf.slice(landmarks, [0, 0, 0], [batch, points, 2]);
    const turned = tf.matMul(plane, tf.tensor3d(matrices, [batch, 2, 2]));
    const moved = tf.add<tf.Tensor3D>(turned, tf.tensor3d(shifts, [batch, 1, 2]));
    if (each === 2) {
      return moved;
    }
    const rest = tf.slice(landmarks, [0, 0, 2], [batch, points, each - 2]);
    return tf.concat([moved, tf.mul<tf.Tensor3D>(rest, tf.tensor3d(factors, [batch, 1, each - 2]))], 2);
  });
}
