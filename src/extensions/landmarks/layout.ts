import * as tf from '@tensorflow/tfjs';
import {checkCount, checkNumber, LoRAError, misfitError, show, showShape} from '../../platform/errors';

/** How the values of targets and predictions are laid out as landmarks. */
export interface LandmarkLayout {
  /** How many landmarks an example has, such as 21 for a hand. */
  points: number;
  /**
   * How many of a landmark's values, from the first on, are coordinates: 2 for x and y, 3 with a depth. Others may
   * follow, such as a visibility. Defaults to 2.
   */
  dimensions?: 2 | 3;
  /** The index of the value in the targets that says how visible a landmark is, 0 to 1. Default: all count alike. */
  visibility?: number;
}

/** The divisor of each example's errors; see `referenceSizes`. */
export type LandmarkSize = 'box' | readonly [number, number] | number;

/** A layout, and what errors are divided by. */
export interface SizedLayout extends LandmarkLayout {
  /**
   * What errors are divided by, so that near and far hands count alike: the diagonal of the box around the visible
   * landmarks of the target (`'box'`), the distance between two of them (`[wrist, knuckle]`), or a number in the unit
   * of the coordinates. Defaults to `'box'`.
   */
  size?: LandmarkSize;
}

/** Coordinates and weights of a batch, and what errors are divided by. */
export interface Separated {
  /** `[batch, points, dimensions]`; zero where a target is not known. */
  truth: tf.Tensor3D;
  /** `[batch, points, dimensions]`. */
  guess: tf.Tensor3D;
  /**
   * The weight of each landmark in its example, `[batch, points]`, from its visibility: 0 where that or a coordinate is
   * unknown, and in examples without a size.
   */
  shares: tf.Tensor2D;
  /** What the errors of each example are divided by, `[batch, 1]`. */
  sizes: tf.Tensor2D;
}

/** @throws LoRAError if a layout contradicts itself. */
export function checkLayout({points, dimensions = 2, visibility}: LandmarkLayout): void {
  checkCount('points', points);
  checkNumber('dimensions', dimensions, [2, 3].includes(dimensions), '2 or 3');
  if (visibility !== undefined) {
    const fits = Number.isInteger(visibility) && visibility >= dimensions;
    checkNumber('visibility', visibility, fits, `the index of a value after the ${dimensions} coordinates`);
  }
}

/** @throws LoRAError if a layout contradicts itself, or the size is invalid. */
export function checkSizedLayout({size = 'box', ...layout}: SizedLayout): void {
  checkLayout(layout);
  if (Array.isArray(size)) {
    const [from, to] = size as readonly unknown[];
    const isPoint = (point: unknown) => Number.isInteger(point) && Number(point) >= 0 && Number(point) < layout.points;
    if (size.length !== 2 || !isPoint(from) || !isPoint(to) || from === to) {
      throw new LoRAError(`size must be two of the ${layout.points} landmarks, counted from 0, got ${show(size)}.`);
    }
  } else if (size !== 'box') {
    checkNumber('size', size, Number(size) > 0, "'box', two landmarks or a number above 0");
  }
}

/**
 * Reshapes a tensor with an example in each row to `[batch, points, values]`.
 *
 * @param targetShape the shape for error messages, if it differs.
 */
export function byPoint(
  values: tf.Tensor,
  {points}: LandmarkLayout,
  what: string,
  targetShape: number[] = values.shape,
): tf.Tensor3D {
  const [batch = 0] = values.shape;
  const valuesPerPoint = values.size / (batch * points);
  if (values.rank < 2 || !Number.isInteger(valuesPerPoint)) {
    throw misfitError(
      `${what} must hold ${points} landmarks in each example, got the shape ${showShape(targetShape)}.`,
    );
  }
  return tf.reshape(values, [batch, points, valuesPerPoint]);
}

/** @throws LoRAError if targets and predictions do not fit the layout. */
export function separate(targets: tf.Tensor, predictions: tf.Tensor, layout: SizedLayout): Separated {
  const {dimensions = 2, visibility, size = 'box'} = layout;
  const [all, guesses] = [byPoint(targets, layout, 'The targets'), byPoint(predictions, layout, 'The predictions')];
  const [batch, points, valuesPerPoint] = all.shape;
  const last = visibility ?? dimensions - 1;
  if (last >= valuesPerPoint || guesses.shape[2] < dimensions || guesses.shape[0] !== batch) {
    throw misfitError(
      `Targets ${showShape(targets.shape)} and predictions ${showShape(predictions.shape)} do not hold ${points} ` +
        `landmarks of ${dimensions} coordinates${visibility === undefined ? '' : ` and a visibility at ${visibility}`}.`,
    );
  }
  const place = tf.slice(all, [0, 0, 0], [batch, points, dimensions]);
  const isLost = tf.isNaN(place);
  const one = tf.ones<tf.Rank.R2>([batch, points]);
  const visible =
    visibility === undefined
      ? one
      : tf.squeeze<tf.Tensor2D>(tf.slice(all, [0, 0, visibility], [batch, points, 1]), [2]);
  const isUnknown = tf.logicalOr(tf.any(isLost, 2), tf.isNaN(visible));
  const seen = tf.where(isUnknown, tf.zerosLike(one), visible);
  const truth = tf.where(isLost, tf.zerosLike(place), place);
  const sizes = referenceSizes(truth, seen, size);
  const weights = tf.mul<tf.Tensor2D>(seen, tf.cast(tf.greater(sizes, 0), 'float32'));
  return {
    truth,
    guess: tf.slice(guesses, [0, 0, 0], [batch, points, dimensions]),
    shares: tf.divNoNan(weights, tf.sum(weights, 1, true)),
    sizes,
  };
}

/** Returns the divisor of the errors of each example, `[batch, 1]`, from x and y: 0 where it is unknown. */
function referenceSizes(truth: tf.Tensor3D, weights: tf.Tensor2D, size: LandmarkSize): tf.Tensor2D {
  const [batch, points] = truth.shape;
  if (typeof size === 'number') {
    return tf.fill([batch, 1], size);
  }
  const plane = tf.slice(truth, [0, 0, 0], [batch, points, 2]);
  const isSeen = tf.greater(weights, 0);
  if (size === 'box') {
    const hidden = tf.expandDims(tf.logicalNot(isSeen), 2);
    // Replaces a hidden landmark by a value that cannot be the outermost one.
    const highest = tf.max(tf.where(hidden, tf.min(plane, 1, true), plane), 1);
    const lowest = tf.min(tf.where(hidden, tf.max(plane, 1, true), plane), 1);
    const extent = tf.sub(highest, lowest);
    const isAny = tf.cast(tf.any(isSeen, 1, true), 'float32');
    return tf.mul(tf.norm(tf.maximum(extent, 0), 'euclidean', 1, true), isAny);
  }
  const [from, to] = size;
  const placeOf = (point: number) => tf.slice(plane, [0, point, 0], [batch, 1, 2]);
  const seenAt = (point: number) => tf.cast(tf.slice(isSeen, [0, point], [batch, 1]), 'float32');
  const distance = tf.reshape(tf.norm(tf.sub(placeOf(to), placeOf(from)), 'euclidean', 2), [batch, 1]);
  return tf.mul(distance, tf.mul(seenAt(from), seenAt(to)));
}
