import * as tf from '@tensorflow/tfjs';
import {bilinear, nearest, resizeGradient} from '../../backends/shared/resizing';
import {channelsLast} from '../layers/convolutions';
import type {KerasLayerArgs, Operation, Sizes} from './layerOperation';

/** Resizes images, if asked after cropping them to the proportions. */
export const RESIZING: Operation = {
  shape: imageShape,
  compute(x, {factors, sizes, interpolation, crops, ...format}) {
    const {last, restore} = imagesOf(x, format);
    const [, height, width] = last.shape as [number, number, number, number];
    const [h, w] = sizes ?? [height * (factors?.[0] ?? 1), width * (factors?.[1] ?? 1)];
    return restore(resized(crops === true ? croppedToAspect(last, [h, w]) : last, [h, w], interpolation));
  },
};

/** Takes the middle of images, of smaller ones after resizing them. */
export const CENTER_CROP: Operation = {
  shape: imageShape,
  compute(x, {sizes = [1, 1], ...format}) {
    const {last, restore} = imagesOf(x, format);
    const [, height, width] = last.shape as [number, number, number, number];
    return restore(
      height >= sizes[0] && width >= sizes[1]
        ? centered(last, sizes)
        : resized(croppedToAspect(last, sizes), sizes, 'bilinear'),
    );
  },
};

function imageShape([n = null, ...image]: tf.Shape, {dataFormat, factors, sizes}: KerasLayerArgs): tf.Shape {
  const first = dataFormat === 'channelsFirst';
  const space = (sizes ?? image.slice(first ? 1 : 0, first ? 3 : 2)).map(
    (size, axis) => size && size * (factors?.[axis] ?? 1),
  );
  return first ? [n, image[0] ?? null, ...space] : [n, ...space, image[2] ?? null];
}

function imagesOf(x: tf.Tensor, {dataFormat = 'channelsLast'}: Pick<KerasLayerArgs, 'dataFormat'>) {
  return channelsLast(tf.cast(x, 'float32'), {dataFormat});
}

/** The middle of images. */
function centered(x: tf.Tensor, [h, w]: Sizes): tf.Tensor {
  const [n, height, width, channels] = x.shape as [number, number, number, number];
  return tf.slice(x, [0, Math.floor((height - h) / 2), Math.floor((width - w) / 2), 0], [n, h, w, channels]);
}

/** The largest middle part of images that has given proportions. */
function croppedToAspect(x: tf.Tensor, [h, w]: Sizes): tf.Tensor {
  const [, height, width] = x.shape as [number, number, number, number];
  return centered(x, [
    Math.max(Math.min(height, Math.floor((width * h) / w)), 1),
    Math.max(Math.min(width, Math.floor((height * w) / h)), 1),
  ]);
}

/** With half-pixel centers, backends differ in the pixels that `nearest` picks, and have no right gradient. */
function resized(x: tf.Tensor, [h, w]: Sizes, interpolation: KerasLayerArgs['interpolation']): tf.Tensor {
  const alignment = {alignCorners: false, halfPixelCenters: true};
  if (interpolation !== 'nearest') {
    const resize = tf.customGrad(image => ({
      value: tf.image.resizeBilinear(image as tf.Tensor4D, [h, w], false, true),
      gradFunc: (dy: tf.Tensor) => resizeGradient(dy, x.shape, bilinear, alignment),
    }));
    return resize(x);
  }
  const pixels = (from: number, to: number) =>
    Array.from({length: to}, (_, i) => {
      const [parts] = nearest(i, from, to, alignment);
      return Math.min(parts?.[0] ?? 0, from - 1);
    });
  const [, height, width] = x.shape as [number, number, number, number];
  return tf.gather(tf.gather(x, pixels(height, h), 1), pixels(width, w), 2);
}
