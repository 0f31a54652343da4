import * as tf from '@tensorflow/tfjs';
import {kindOf, LoRAError, notReadyError, show, showShape, unsupportedError} from '../../platform/errors';
import type {Pixels} from '../transformers/ops/resampling';
import {roundToEven} from '../transformers/ops/rounding';

/** Colors from 0 to 255, row by row, with 1, 3 or 4 channels, like an `ImageData`. */
export interface ImagePixels {
  /** Four values for each pixel, red, green, blue and alpha, row by row. */
  readonly data: Uint8Array | Uint8ClampedArray;
  /** The number of pixels in a row. */
  readonly width: number;
  /** The number of rows. */
  readonly height: number;
}

/** An image that can be drawn on a canvas. */
type Drawable = HTMLImageElement | HTMLCanvasElement | HTMLVideoElement | OffscreenCanvas | ImageBitmap;

/** An image for `encodeImages`. */
export type ImageInput = ImagePixels | tf.Tensor | Drawable | Blob;

/**
 * The red, green and blue values of an image. Transparent pixels become white, as in transformers.
 *
 * @throws LoRAError if it is not an image.
 */
export async function pixelsOf(image: ImageInput, name: string): Promise<Pixels> {
  if (image instanceof tf.Tensor) {
    return ofTensor(image, name);
  }
  const source: unknown = image;
  const {data, width, height} = (source ?? {}) as {[key in keyof ImagePixels]?: unknown};
  if (data instanceof Uint8Array || data instanceof Uint8ClampedArray) {
    return inColors(data, Number(width), Number(height), name);
  }
  if (data !== undefined) {
    throw new LoRAError(
      `${name} must have data in a Uint8Array or Uint8ClampedArray, colors from 0 to 255, got ${kindOf(data)}.`,
    );
  }
  if (typeof Blob === 'function' && image instanceof Blob && typeof createImageBitmap === 'function') {
    const bitmap = await createImageBitmap(image, {premultiplyAlpha: 'none', colorSpaceConversion: 'none'});
    const pixels = drawn(bitmap, name);
    bitmap.close();
    return pixels;
  }
  const canDraw = typeof OffscreenCanvas === 'function' || typeof document === 'object';
  if (canDraw && typeof source === 'object' && source !== null && sizeOf(source as Drawable) !== undefined) {
    return drawn(source as Drawable, name);
  }
  throw new LoRAError(
    `${name} must be an element, an ImageData or {data, width, height}, a tensor [height, width, colors], or in a ` +
      `browser a Blob; got ${kindOf(image)}.`,
  );
}

async function ofTensor(image: tf.Tensor, name: string): Promise<Pixels> {
  const [height = 0, width = 0] = image.shape;
  if (image.rank !== 3 || (image.dtype !== 'int32' && image.dtype !== 'float32')) {
    throw new LoRAError(
      `${name} must be a tensor [height, width, colors] of type int32 or float32, got ${showShape(image.shape)} of ` +
        `type ${image.dtype}. Use tf.unstack for a batch.`,
    );
  }
  const most = image.dtype === 'int32' ? 255 : 1;
  const values = await image.data<'float32' | 'int32'>();
  const wrong = values.find(value => !(value >= 0 && value <= most));
  if (wrong !== undefined) {
    throw new LoRAError(
      `${name} is a tensor of type ${image.dtype}. Its colors must be from 0 to ${most}, got ${show(wrong)}.`,
    );
  }
  return inColors(
    Uint8Array.from(values, value => Math.round((value * 255) / most)),
    width,
    height,
    name,
  );
}

function inColors(data: Uint8Array | Uint8ClampedArray, width: number, height: number, name: string): Pixels {
  const points = width * height;
  const colors = data.length / points;
  if (!Number.isInteger(width) || !Number.isInteger(height) || points <= 0 || ![1, 3, 4].includes(colors)) {
    throw new LoRAError(
      `${name} must have 1, 3 or 4 colors for each of ${show(width)} × ${show(height)} pixels, got ${data.length} ` +
        'numbers.',
    );
  }
  const rgb = new Uint8Array(points * 3);
  for (let i = 0; i < points; i++) {
    const alpha = colors === 4 ? (data[4 * i + 3] as number) / 255 : 1;
    for (let k = 0; k < 3; k++) {
      const color = data[i * colors + (colors === 1 ? 0 : k)] as number;
      rgb[3 * i + k] = alpha === 1 ? color : roundToEven(alpha * color + (1 - alpha) * 255);
    }
  }
  return {data: rgb, width, height, channels: 3};
}

/** The natural size of a drawable, not its size on the page. */
function sizeOf(image: Drawable): {width: number; height: number} | undefined {
  const {naturalWidth, naturalHeight} = image as Partial<HTMLImageElement>;
  const {videoWidth, videoHeight} = image as Partial<HTMLVideoElement>;
  const width = naturalWidth ?? videoWidth ?? (image as Partial<ImageBitmap>).width;
  const height = naturalHeight ?? videoHeight ?? (image as Partial<ImageBitmap>).height;
  return typeof width === 'number' && typeof height === 'number' ? {width, height} : undefined;
}

function drawn(image: Drawable, name: string): Pixels {
  const {width, height} = sizeOf(image) as {width: number; height: number};
  if (width === 0 || height === 0) {
    throw notReadyError(`${name} has no size yet. Wait until it is loaded, for example with await image.decode().`);
  }
  const canvas =
    typeof OffscreenCanvas === 'function'
      ? new OffscreenCanvas(width, height)
      : Object.assign(document.createElement('canvas'), {width, height});
  const context = canvas.getContext('2d', {willReadFrequently: true}) as OffscreenCanvasRenderingContext2D | null;
  if (context === null) {
    throw unsupportedError(`${name} cannot be drawn, because there is no canvas.`);
  }
  context.drawImage(image, 0, 0);
  return inColors(context.getImageData(0, 0, width, height).data, width, height, name);
}
