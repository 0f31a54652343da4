import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions, LoRAError, show, showShape} from '../../platform/errors';
import {randomNumbers} from '../../platform/formats/randomNumbers';
import {type Affine, aroundCenter, movePictures, movePoints} from './affine';
import {byPoint, checkLayout, type LandmarkLayout} from './layout';

/** Options of `augmentLandmarks`. */
export interface AugmentOptions extends LandmarkLayout {
  /** The unit of the landmarks: pixels, or shares of the picture's width and height. Default: `'pixels'`. */
  unit?: 'pixels' | 'fraction';
  /** The largest turn, in degrees either way. Default: 20. */
  turn?: number;
  /** The largest change of size: 1.25 is from 0.8 to 1.25 times. Default: 1.25. */
  scale?: number;
  /** The largest shift either way, as a share of the picture's width and height. Default: 0.1. */
  shift?: number;
  /**
   * Mirrors every second picture by chance, and exchanges these landmarks, left and right ones: `[[11, 12], [13, 14]]`.
   * An empty list where none has a counterpart, as on a hand. Default: not mirrored.
   */
  mirror?: readonly (readonly [number, number])[];
  /** The largest change of light: 0.2 is from 0.8 to 1.2 times as bright. Default: 0.2. */
  light?: number;
  /** The numbers of black and of white in the pictures. Black is also what comes in from outside. Default: `[0, 1]`. */
  range?: readonly [number, number];
  /** A whole number: the same seed gives the same changes, one after the other. Default: by chance. */
  seed?: number;
}

/** Pictures and their landmarks, as a `tf.data` dataset holds them. */
export interface LandmarkBatch extends tf.TensorContainerObject {
  /** `[height, width, channels]`, or a batch of them. */
  xs: tf.Tensor;
  /** The landmarks of the picture, or of each. */
  ys: tf.Tensor;
}

/**
 * Changes pictures and their landmarks together, by chance and on the device: turn, scale, shift, mirror and light.
 *
 *     const dataset = tf.data.zip({xs: pictures, ys: landmarks}).batch(8).map(augmentLandmarks({points: 21}));
 *
 * Whole numbers, as `tf.browser.fromPixels` gives them, need a `range` and become floats.
 *
 * The middle of the picture is what it turns and grows around. Coordinates are of the plane: `(0, 0)` is the upper left
 * corner of the picture, not the middle of its first pixel. A third coordinate, a depth, grows with the picture. What
 * is not a number (NaN) stays so; a landmark that leaves the picture keeps its place outside.
 *
 * @returns what `dataset.map` takes, for single examples and for batches. Each call has other changes.
 * @throws LoRAError if an option is not in its range; from the map, if the shapes do not fit.
 */
export function augmentLandmarks(options: AugmentOptions): (example: tf.TensorContainer) => LandmarkBatch {
  const {points, dimensions = 2, range, seed, light, mirror, ...change} = checked(options);
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
          `xs are ${xs.dtype}, and black and white are 0 and 1 if nothing else is said. Pass {range: [0, 255]}.`,
        );
      }
      const pictures = tf.cast(isBatch ? xs : tf.expandDims(xs), 'float32') as tf.Tensor4D;
      const [count, height, width] = pictures.shape;
      const landmarks = byPoint(tf.cast(isBatch ? ys : tf.expandDims(ys), 'float32'), options, 'ys', ys.shape);
      if (landmarks.shape[0] !== count || landmarks.shape[2] < dimensions) {
        throw new LoRAError(
          `ys must hold ${points} landmarks of ${dimensions} coordinates for each picture, got the shape ` +
            `${showShape(ys.shape)} for pictures ${showShape(xs.shape)}.`,
        );
      }
      const isMirrored = Array.from({length: count}, () => mirror !== undefined && uniform() < 0.5);
      const changes = isMirrored.map((isOne): Affine =>
        aroundCenter([width, height], {
          turn: (either(change.turn) * Math.PI) / 180,
          scale: change.scale ** either(1),
          shift: [either(change.shift) * width, either(change.shift) * height],
          isMirrored: isOne,
        }),
      );
      const unit: [number, number] = change.unit === 'pixels' ? [1, 1] : [width, height];
      const order = isMirrored.map(isOne => (isOne ? exchange : exchange.map((_, point) => point)));
      const sorted = mirror === undefined ? landmarks : reordered(landmarks, order);
      const brightness = Array.from({length: count}, () => 1 + either(light));
      return {
        xs: tf.reshape(lit(movePictures(pictures, changes, range[0]), brightness, range), xs.shape),
        ys: tf.reshape(movePoints(sorted, changes, {dimensions, unit}), ys.shape),
      };
    });
}

/** @throws LoRAError if an example of a dataset is no pictures and landmarks. */
function tensorsOf(example: tf.TensorContainer): LandmarkBatch {
  const {xs, ys} = (example ?? {}) as Partial<LandmarkBatch>;
  if (!(xs instanceof tf.Tensor && ys instanceof tf.Tensor)) {
    throw new LoRAError('An example must be {xs, ys}: a picture, or a batch of them, and its landmarks, as tensors.');
  }
  if (xs.rank !== 3 && xs.rank !== 4) {
    throw new LoRAError(`xs must be a picture or a batch of them, got the shape ${showShape(xs.shape)}.`);
  }
  return {xs, ys};
}

function checked(options: AugmentOptions) {
  checkOptions(options, {
    ...{points: true, dimensions: true, visibility: true, unit: true, turn: true, scale: true, shift: true},
    ...{mirror: true, light: true, range: true, seed: true},
  });
  checkLayout(options);
  const {unit = 'pixels', turn = 20, scale = 1.25, shift = 0.1, light = 0.2, range = [0, 1], mirror} = options;
  const {seed = Math.floor(Math.random() * 2 ** 31), points, dimensions} = options;
  if (!['pixels', 'fraction'].includes(unit)) {
    throw new LoRAError(`unit must be 'pixels' or 'fraction', got ${show(unit)}.`);
  }
  checkNumber('turn', turn, turn >= 0, 'a number of degrees, 0 or more');
  checkNumber('scale', scale, scale >= 1, 'a number, 1 or more');
  checkNumber('shift', shift, shift >= 0, 'a number, 0 or more');
  checkNumber('light', light, light >= 0 && light <= 1, 'a number from 0 to 1');
  checkNumber('seed', seed, Number.isInteger(seed), 'a whole number');
  if (mirror !== undefined && !Array.isArray(mirror)) {
    throw new LoRAError(`mirror must be a list of pairs of landmarks, got ${show(mirror)}.`);
  }
  if (!isPair(range) || !range.every(Number.isFinite) || range[0] >= range[1]) {
    throw new LoRAError(`range must be the numbers of black and of white, got ${show(range)}.`);
  }
  return {points, dimensions, unit, turn, scale, shift, light, range, mirror, seed};
}

/** Whether something that a program gave is a list of two. */
function isPair(value: unknown): value is readonly [number, number] {
  return Array.isArray(value) && value.length === 2;
}

/** The landmark that is in each one's place after mirroring. */
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

/** The landmarks of each example in an order of its own. */
function reordered(landmarks: tf.Tensor3D, order: readonly (readonly number[])[]): tf.Tensor3D {
  const [batch, points, each] = landmarks.shape;
  const rows = order.flatMap((sources, example) => sources.map(point => example * points + point));
  const flat = tf.reshape(landmarks, [batch * points, each]);
  return tf.reshape(tf.gather(flat, tf.tensor1d(rows, 'int32')), [batch, points, each]);
}

/** Pictures some of which are brighter, within their range. */
function lit(pictures: tf.Tensor4D, brightness: readonly number[], range: readonly [number, number]): tf.Tensor4D {
  const [black, white] = range;
  const factors = tf.tensor4d([...brightness], [brightness.length, 1, 1, 1]);
  return tf.clipByValue(tf.add(tf.mul(tf.sub(pictures, black), factors), black), black, white);
}
