import * as tf from '@tensorflow/tfjs';
import {LoRAError} from 'tfjs-lora';
import {augmentLandmarks, type AugmentOptions} from 'tfjs-lora/landmarks';
import {type Affine, aroundCenter, inverse, moveImages, movePoints} from '../../../src/extensions/landmarks/affine';
import {numbers, useBackend, withoutLeaks} from '../../helpers';

const [HEIGHT, WIDTH] = [40, 48];

/** A picture with a soft spot around each place, in a colour of its own. */
function spots(places: readonly (readonly [number, number])[]): tf.Tensor3D {
  return tf.tidy(() => {
    const [xs, ys] = [tf.add(tf.range(0, WIDTH), 0.5), tf.reshape(tf.add(tf.range(0, HEIGHT), 0.5), [HEIGHT, 1])];
    const channels = places.map(([x, y]) =>
      tf.exp(tf.div(tf.add(tf.square(tf.sub(xs, x)), tf.square(tf.sub(ys, y))), -4)),
    );
    return tf.stack(channels, 2) as tf.Tensor3D;
  });
}

/** Where the spots of a picture are: the means of the places of their light. */
function found(picture: tf.Tensor3D): number[] {
  const [height, width, channels] = picture.shape;
  const values = numbers(picture);
  return Array.from({length: channels}, (_, channel) => {
    const sums = [0, 0, 0];
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const light = values[(y * width + x) * channels + channel]!;
        [light, light * (x + 0.5), light * (y + 0.5)].forEach((value, i) => (sums[i]! += value));
      }
    }
    return [sums[1]! / sums[0]!, sums[2]! / sums[0]!];
  }).flat();
}

const PLACES = [
  [17, 15.5],
  [30.25, 18],
  [22, 26],
] as const;
const PLAIN: AugmentOptions = {points: 3, rotation: 0, scale: 1, translation: 0, brightness: 0, seed: 3};

test('without a change pictures and landmarks stay as they are', () => {
  const [xs, ys] = [spots(PLACES), tf.tensor1d(PLACES.flat())];
  const changed = augmentLandmarks(PLAIN)({xs, ys});
  expect(changed.xs.shape).toEqual([HEIGHT, WIDTH, 3]);
  expect(numbers(changed.xs)).toBeAllClose(numbers(xs));
  expect(numbers(changed.ys)).toBeAllClose(PLACES.flat());
});

test.each([
  ['rotated', {rotation: 25}],
  ['scaled', {scale: 1.3}],
  ['shifted', {translation: 0.1}],
  ['all of it', {rotation: 25, scale: 1.2, translation: 0.08}],
])('%s, the landmarks are where the picture has them', (_, options) => {
  const xs = tf.stack([1, 2, 3, 4].map(() => spots(PLACES))) as tf.Tensor4D;
  const ys = tf.tensor2d([1, 2, 3, 4].map(() => PLACES.flat()));
  const changed = augmentLandmarks({...PLAIN, ...options})({xs, ys});
  const expected = tf.unstack(changed.xs as tf.Tensor4D).flatMap(picture => found(picture as tf.Tensor3D));
  expect(numbers(changed.ys)).toBeAllClose(expected, {atol: 0.05});
  // And it does something.
  expect(Math.max(...numbers(tf.sub(changed.ys, ys)).map(Math.abs))).toBeGreaterThan(0.5);
});

test('mirrored, left and right are exchanged, in shares of the picture too', () => {
  const share = ([x, y]: readonly [number, number]) => [x / WIDTH, y / HEIGHT];
  const xs = tf.stack(Array.from({length: 8}, () => spots(PLACES))) as tf.Tensor4D;
  const ys = tf.tensor2d(Array.from({length: 8}, () => PLACES.flatMap(share)));
  const options = {...PLAIN, rotation: 10, mirror: [[0, 1]], unit: 'fraction'} as const;
  const changed = augmentLandmarks(options)({xs, ys});
  const landmarks = tf.unstack(changed.ys).map(numbers);
  const isMirrored = landmarks.map(([, , , , x]) => Math.abs(x! * WIDTH - PLACES[2][0]) > 2);
  expect(new Set(isMirrored).size).toBe(2);
  tf.unstack(changed.xs).forEach((picture, i) => {
    const [a = [], b = [], c = []] = [0, 2, 4].map(at => found(picture as tf.Tensor3D).slice(at, at + 2));
    const inOrder = isMirrored[i] === true ? [b, a, c] : [a, b, c];
    const expected = inOrder.flatMap(place => share(place as [number, number]));
    expect(landmarks[i]).toBeAllClose(expected, {atol: 0.003});
  });
});

test('there and back are pictures and landmarks what they were', () => {
  const change = aroundCenter([WIDTH, HEIGHT], {rotation: 0.4, scale: 1.1, shift: [2, -1], isMirrored: true});
  const [picture, points] = [tf.expandDims<tf.Tensor4D>(spots(PLACES)), tf.tensor3d([PLACES.map(each => [...each])])];
  const there = [change] as const;
  const back: readonly Affine[] = [inverse(change)];
  const layout = {dimensions: 2, unit: [1, 1]} as const;
  expect(numbers(movePoints(movePoints(points, there, layout), back, layout))).toBeAllClose(PLACES.flat(), {
    atol: 1e-4,
  });
  const twice = moveImages(moveImages(picture, there, 0), back, 0);
  expect(found(tf.squeeze(twice, [0]))).toBeAllClose(PLACES.flat(), {atol: 0.05});
});

test('a depth grows with the picture, what is no place stays, and what is not known too', () => {
  const xs = tf.zeros<tf.Rank.R3>([8, 8, 1]);
  const ys = tf.tensor2d([
    [4, 4, 2, 0.7],
    [NaN, 1, 1, 0.3],
  ]);
  const changed = augmentLandmarks({...PLAIN, points: 2, dimensions: 3, scale: 1.5})({xs, ys: tf.reshape(ys, [8])});
  const [x, y, z, visibility, ...unknown] = numbers(changed.ys);
  expect([x, y, visibility]).toBeAllClose([4, 4, 0.7]);
  expect(z).not.toBeCloseTo(2, 2);
  expect(z! / 2).toBeGreaterThan(1 / 1.5);
  expect(z! / 2).toBeLessThan(1.5);
  expect([unknown[0], unknown[1]]).toEqual([NaN, NaN]);
  expect([unknown[2]! / (z! / 2), unknown[3]]).toBeAllClose([1, 0.3]);
});

test('pictures and places of whole numbers become what they are as floats', () => {
  const xs = tf.cast(tf.mul(spots(PLACES), 255), 'int32');
  const ys = tf.tensor1d([17, 15, 30, 18, 22, 26], 'int32');
  const options: AugmentOptions = {points: 3, range: [0, 255], seed: 3};
  const changed = augmentLandmarks(options)({xs, ys});
  const expected = augmentLandmarks(options)({xs: tf.cast(xs, 'float32'), ys: tf.cast(ys, 'float32')});
  expect([changed.xs.dtype, changed.ys.dtype]).toEqual(['float32', 'float32']);
  expect(numbers(changed.xs)).toEqual(numbers(expected.xs));
  expect(numbers(changed.ys)).toEqual(numbers(expected.ys));
  expect(numbers(tf.max(changed.xs))[0]).toBeGreaterThan(100);
  expect(() => augmentLandmarks({points: 3})({xs, ys})).toThrow(/xs are int32, .* Pass \{range: \[0, 255\]\}/);
});

test('brightness stays within the range, and comes from the seed', () => {
  const xs = tf.tensor4d(
    Array.from({length: 32}, (_, i) => (i % 2 === 0 ? 200 : 20)),
    [8, 2, 2, 1],
  );
  const ys = tf.zeros<tf.Rank.R2>([8, 6]);
  const options: AugmentOptions = {...PLAIN, brightness: 0.5, range: [0, 255]};
  const map = augmentLandmarks(options);
  const [first, second] = [numbers(map({xs, ys}).xs), numbers(map({xs, ys}).xs)];
  expect(Math.max(...first, ...second)).toBe(255);
  expect(Math.min(...first)).toBeGreaterThanOrEqual(10 - 1e-4);
  const factors = [0, 1, 2, 3, 4, 5, 6, 7].map(i => first[4 * i + 1]! / 20);
  expect(new Set(factors.map(factor => factor.toFixed(3))).size).toBe(8);
  expect(second).not.toEqual(first);
  expect(numbers(augmentLandmarks(options)({xs, ys}).xs)).toEqual(first);
});

test('it is what a dataset maps by, and leaves nothing', async () => {
  await useBackend('wasm');
  const pictures = tf.data.array(Array.from({length: 6}, () => spots(PLACES)));
  const landmarks = tf.data.array(Array.from({length: 6}, () => PLACES.flat()));
  const {rotation: _, ...options} = PLAIN;
  const dataset = tf.data.zip({xs: pictures, ys: landmarks}).batch(4).map(augmentLandmarks(options));
  const shapes: number[][] = [];
  await withoutLeaks(async () => {
    await dataset.forEachAsync(example => {
      const {xs, ys} = example as unknown as {xs: tf.Tensor; ys: tf.Tensor};
      shapes.push(xs.shape, ys.shape);
      tf.dispose([xs, ys]);
    });
  });
  expect(shapes).toEqual([
    [4, HEIGHT, WIDTH, 3],
    [4, 6],
    [2, HEIGHT, WIDTH, 3],
    [2, 6],
  ]);
});

test.each([
  [{scale: 0.5}, 'scale must be a number, 1 or more, got 0.5.'],
  [{rotation: -1}, 'rotation must be a number of degrees, 0 or more, got -1.'],
  [{brightness: 2}, 'brightness must be a number from 0 to 1, got 2.'],
  [{unit: 'cm'}, "unit must be 'pixels' or 'fraction', got \"cm\"."],
  [{range: [1, 0]}, 'range must be the values of black and of white, got [1,0].'],
  [{mirror: [[0, 3]]}, 'mirror must be pairs of the 3 landmarks, counted from 0, each in one pair, got [0,3].'],
  [
    {
      mirror: [
        [0, 1],
        [1, 2],
      ],
    },
    'mirror must be pairs of the 3 landmarks, counted from 0, each in one pair, got [1,2].',
  ],
  [{rotate: 3}, 'There is no option "rotate".'],
])('the options %j are refused', (options, message) => {
  const augment = () => augmentLandmarks({points: 3, ...options} as AugmentOptions);
  expect(augment).toThrow(LoRAError);
  expect(augment).toThrow(message);
});

test('shapes that do not fit are refused', async () => {
  await useBackend('cpu');
  const map = augmentLandmarks(PLAIN);
  expect(() => map([tf.zeros([2, 2])])).toThrow('An example must be {xs, ys}');
  expect(() => map({xs: tf.zeros([2, 2]), ys: tf.zeros([6])})).toThrow('xs must be an image or a batch of them');
  expect(() => map({xs: tf.zeros([2, 2, 1]), ys: tf.zeros([7])})).toThrow(
    'ys must hold 3 landmarks in each example, got the shape [7].',
  );
  expect(() => map({xs: tf.zeros([4, 2, 2, 1]), ys: tf.zeros([2, 6])})).toThrow(
    'ys must hold 3 landmarks of 2 coordinates for each image, got the shape [2, 6] for images [4, 2, 2, 1].',
  );
});
