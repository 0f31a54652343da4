import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions, LoRAError, misfitError, show, showShape} from '../../platform/errors';
import {randomNumbers} from '../../platform/formats/randomNumbers';
import {type Affine, aroundCenter, moveImages, movePoints} from './affine';
import {byPoint, checkLayout, type LandmarkLayout} from './layout';

/** Options of `augmentLandmarks`. */
export interface AugmentOptions extends LandmarkLayout {
  /** The unit of the landmarks: pixels, or fractions of the image's width and height. Defaults to `'pixels'`. */
  unit?: 'pixels' | 'fraction';
  /** The largest rotation in either direction, in degrees. Defaults to 20. */
  rotation?: number;
  /** The largest change of size, as a factor: 1.25 is from 0.8 to 1.25 times. Defaults to 1.25. */
  scale?: number;
  /** The largest translation in either direction, as a fraction of the image's width and height. Defaults to 0.1. */
  translation?: number;
  /**
   * Mirrors half of the images, chosen at random, and exchanges these pairs of left and right landmarks:
   * `[[11, 12], [13, 14]]`. Pass an empty list if no landmark has a counterpart, as on a hand. By default nothing is
   * mirrored.
   */
  mirror?: readonly (readonly [number, number])[];
  /** The largest change of brightness: 0.2 multiplies it by a factor from 0.8 to 1.2. Defaults to 0.2. */
  brightness?: number;
  /** The values of black and white in the images. Black also fills what was outside. Defaults to `[0, 1]`. */
  range?: readonly [number, number];
  /** A whole number: the same seed gives the same sequence of changes. Defaults to a random one. */
  seed?: number;
}

/** Images and their landmarks, as a `tf.data` dataset holds them. */
export interface LandmarkBatch extends tf.TensorContainerObject {
  /** `[height, width, channels]`, or a batch of them. */
  xs: tf.Tensor;
  /** The landmarks of the image, or of each image of the batch. */
  ys: tf.Tensor;
}

/**
 * Augments images and their landmarks together at random, on the device: rotation, scale, translation, mirroring and
 * brightness.
 *
 * Integer images, as `tf.browser.fromPixels` gives them, need a `range` and become floats.
 *
 * Images are rotated and scaled around their center. Coordinates are of the plane: `(0, 0)` is the upper left corner
 * of the image, not the center of its first pixel. A third coordinate, a depth, is scaled with the image. A coordinate
 * that is NaN stays NaN; a landmark that leaves the image keeps its coordinates outside.
 *
 * @param options the layout of the landmarks, and the largest change of each kind.
 * @returns a function for `dataset.map`, for single examples and for batches. Each call draws new changes.
 * @throws LoRAError `ERR_OPTION` if an option is not in its range; from the map, `ERR_MISFIT` if the shapes do not fit.
 * @example
 *     const examples = tf.data.zip({xs: tf.data.array(images), ys: tf.data.array(landmarks)});
 *     const dataset = examples.batch(8).map(augmentLandmarks({points: 21, rotation: 30}));
 * @experimental
 */
export function augmentLandmarks(options: AugmentOptions): (example: tf.TensorContainer) => LandmarkBatch {
  const {points, dimensions = 2, range, seed, brightness, mirror, ...change} = checked(options);
  const exchange = mirror === undefined ? [] : exchanged(points, mirror);
  const random = randomNumbers(seed, 0);
  const uniform = () => random() / 2 ** 32;
  const either = (most: number) => most * (2 * uniform() - 1);
  return example =>
    tf.tidy(() => {
      const {xs, ys} = tensorsOf(example);
      const isBatch = xs.rank === 4;
      if (xs.dtype !== 'float32' && options.range === undefined) {
        throw new LoRAError(
          `xs are ${xs.dtype}, and the default range of black and white is [0, 1]. Pass {range: [0, 255]}.`,
        );
      }
      const images = tf.cast(isBatch ? xs : tf.expandDims(xs), 'float32') as tf.Tensor4D;
      const [count, height, width] = images.shape;
      const landmarks = byPoint(tf.cast(isBatch ? ys : tf.expandDims(ys), 'float32'), options, 'ys', ys.shape);
      if (landmarks.shape[0] !== count || landmarks.shape[2] < dimensions) {
        throw misfitError(
          `ys must hold ${points} landmarks of ${dimensions} coordinates for each image, got the shape ` +
            `${showShape(ys.shape)} for images ${showShape(xs.shape)}.`,
        );
      }
      const isMirrored = Array.from({length: count}, () => mirror !== undefined && uniform() < 0.5);
      const changes = isMirrored.map((isOne): Affine =>
        aroundCenter([width, height], {
          rotation: (either(change.rotation) * Math.PI) / 180,
          scale: change.scale ** either(1),
          shift: [either(change.translation) * width, either(change.translation) * height],
          isMirrored: isOne,
        }),
      );
      const unit: [number, number] = change.unit === 'pixels' ? [1, 1] : [width, height];
      const order = isMirrored.map(isOne => (isOne ? exchange : exchange.map((_, point) => point)));
      const sorted = mirror === undefined ? landmarks : reordered(landmarks, order);
      const factors = Array.from({length: count}, () => 1 + either(brightness));
      return {
        xs: tf.reshape(lit(moveImages(images, changes, range[0]), factors, range), xs.shape),
        ys: tf.reshape(movePoints(sorted, changes, {dimensions, unit}), ys.shape),
      };
    });
}

/** @throws LoRAError if an example of a dataset is no images and landmarks. */
function tensorsOf(example: tf.TensorContainer): LandmarkBatch {
  const {xs, ys} = (example ?? {}) as Partial<LandmarkBatch>;
  if (!(xs instanceof tf.Tensor && ys instanceof tf.Tensor)) {
    throw new LoRAError('An example must be {xs, ys}: an image, or a batch of them, and its landmarks, as tensors.');
  }
  if (xs.rank !== 3 && xs.rank !== 4) {
    throw new LoRAError(`xs must be an image or a batch of them, got the shape ${showShape(xs.shape)}.`);
  }
  return {xs, ys};
}

function checked(options: AugmentOptions) {
  checkOptions(options, {
    ...{points: true, dimensions: true, visibility: true, unit: true, rotation: true, scale: true, translation: true},
    ...{mirror: true, brightness: true, range: true, seed: true},
  });
  checkLayout(options);
  const {
    unit = 'pixels',
    rotation = 20,
    scale = 1.25,
    translation = 0.1,
    brightness = 0.2,
    range = [0, 1],
    mirror,
  } = options;
  const {seed = Math.floor(Math.random() * 2 ** 31), points, dimensions} = options;
  if (!['pixels', 'fraction'].includes(unit)) {
    throw new LoRAError(`unit must be 'pixels' or 'fraction', got ${show(unit)}.`);
  }
  checkNumber('rotation', rotation, rotation >= 0, 'a number of degrees, 0 or more');
  checkNumber('scale', scale, scale >= 1, 'a number, 1 or more');
  checkNumber('translation', translation, translation >= 0, 'a number, 0 or more');
  checkNumber('brightness', brightness, brightness >= 0 && brightness <= 1, 'a number from 0 to 1');
  checkNumber('seed', seed, Number.isInteger(seed), 'a whole number');
  if (mirror !== undefined && !Array.isArray(mirror)) {
    throw new LoRAError(`mirror must be a list of pairs of landmarks, got ${show(mirror)}.`);
  }
  if (!isPair(range) || !range.every(Number.isFinite) || range[0] >= range[1]) {
    throw new LoRAError(`range must be the values of black and of white, got ${show(range)}.`);
  }
  return {points, dimensions, unit, rotation, scale, translation, brightness, range, mirror, seed};
}

/** Whether something that a program gave is a list of two. */
function isPair(value: unknown): value is readonly [number, number] {
  return Array.isArray(value) && value.length === 2;
}

/** The landmark that each one becomes when its image is mirrored. */
function exchanged(points: number, pairs: readonly (readonly [number, number])[]): number[] {
  const order = Array.from({length: points}, (_, point) => point);
  const isTaken = new Set<number>();
  const isFree = (point: number) => Number.isInteger(point) && point >= 0 && point < points && !isTaken.has(point);
  for (const pair of pairs) {
    if (!isPair(pair) || pair[0] === pair[1] || !pair.every(isFree)) {
      throw new LoRAError(
        `mirror must be pairs of the ${points} landmarks, counted from 0, each in one pair, got ${show(pair)}.`,
      );
    }
    pair.forEach(point => isTaken.add(point));
    [order[pair[0]], order[pair[1]]] = [pair[1], pair[0]];
  }
  return order;
}

function reordered(landmarks: tf.Tensor3D, order: readonly (readonly number[])[]): tf.Tensor3D {
  const [batch, points, valuesPerPoint] = landmarks.shape;
  const rows = order.flatMap((sources, example) => sources.map(point => example * points + point));
  const flat = tf.reshape(landmarks, [batch * points, valuesPerPoint]);
  return tf.reshape(tf.gather(flat, tf.tensor1d(rows, 'int32')), [batch, points, valuesPerPoint]);
}

/** Images whose brightness is multiplied by factors, within their range. */
function lit(images: tf.Tensor4D, factors: readonly number[], range: readonly [number, number]): tf.Tensor4D {
  const [black, white] = range;
  const exampleFactors = tf.tensor4d([...factors], [factors.length, 1, 1, 1]);
  return tf.clipByValue(tf.add(tf.mul(tf.sub(images, black), exampleFactors), black), black, white);
}
