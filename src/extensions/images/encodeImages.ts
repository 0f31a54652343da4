import * as tf from '@tensorflow/tfjs';
import {checkOptions, LoRAError, misfitError, show, showShape, tooLargeError} from '../../platform/errors';
import {type CallOptions, checkCallOptions} from '../../platform/signals';
import {checkModel} from '../../platform/tfjs/checkModel';
import {encodeInputs, inputsIn, loadedPreprocessor, preprocessorText} from '../transformers/net/preprocessorKey';
import {MAX_EDGE, type Preprocessing, readPreprocessor} from './preprocessor';
import {type ImageInput, pixelsOf} from './imagePixels';
import {type ImageSize, type Pixels, resized, resizedFloats} from '../transformers/ops/resampling';

/** How images are encoded. */
export interface EncodeImagesOptions extends CallOptions {
  /** The `preprocessor_config.json` of the model: its text, or its content. Default: the one loaded with the model. */
  preprocessor?: string | Readonly<Record<string, unknown>>;
  /**
   * The values of black and white, such as `[0, 1]` or `[-1, 1]`, for a model without a preprocessor. Images are
   * resized to its input and not cropped.
   */
  range?: readonly [black: number, white: number];
}

/**
 * Encodes images as a model takes them: resized, cropped and normalized as its `preprocessor_config.json` says, or
 * resized to its input with values in `range`.
 *
 * An image is an element (`img`, `canvas`, `video`), an `ImageBitmap`, an `ImageData` or anything with `data`, `width`
 * and `height`, of 1, 3 or 4 colors from 0 to 255; a tensor `[height, width, colors]`, as tfjs has images: int32 from 0
 * to 255, or float32 from 0 to 1; or a `Blob` that the browser can decode. Transparent pixels become white.
 *
 * Values are those that the processors of transformers compute with Pillow (`backend="pil"`, `use_fast=False`), and for
 * DINOv3, whose processor needs it, with torchvision. For SigLIP 2 with images of any aspect ratio (NaFlex), use
 * `encodePatches`.
 *
 * @param model of `loadTransformer`; with `range` any layers or graph model for color images.
 * @param images an image, or a list of them.
 * @param options the preprocessor, or the range of values, `signal` and `onProgress`.
 * @returns `[images, height, width, 3]`. Dispose of it after use.
 * @throws LoRAError `ERR_OPTION` if an image is none, or there is neither a preprocessor nor a range; `ERR_UNSUPPORTED`
 *     if a setting of the preprocessor is not supported; `ERR_MISFIT` if images would differ in size, or the model does
 *     not take color images of a fixed size, or takes patches; `ERR_ABORTED`.
 * @example
 *     const pixels = await encodeImages(mobilenet, [canvas, image], {range: [-1, 1]});
 *     const scores = mobilenet.predict(pixels);
 * @experimental
 */
export async function encodeImages(
  model: tf.LayersModel | tf.GraphModel,
  images: ImageInput | readonly ImageInput[],
  options: EncodeImagesOptions = {},
): Promise<tf.Tensor4D> {
  checkOptions(options, {preprocessor: true, range: true, signal: true, onProgress: true});
  checkCallOptions(options);
  const settings = await settingsFor(model, options);
  if (settings.patches !== undefined) {
    throw misfitError('The preprocessor is for a model that takes patches. Use encodePatches(model, images).');
  }
  const made = await prepareAll(images, options, (pixels, name) => prepared(pixels, name, settings));
  const [{height, width}] = made as [Prepared];
  const other = made.find(image => image.height !== height || image.width !== width);
  if (other !== undefined) {
    throw misfitError(
      `Images of one size are needed, since the config has no size and no crop that brings them to one; got ` +
        `${showShape([height, width])} and ${showShape([other.height, other.width])}.`,
    );
  }
  const values = new Float32Array(made.length * height * width * 3);
  const normalize = normalizationOf(settings);
  made.forEach(({data}, i) => normalize(data, values.subarray(i * height * width * 3)));
  return tf.tensor4d(values, [made.length, height, width, 3]);
}

/** Prepares an image, or each image of a list, by its pixels and its name in errors. */
export async function prepareAll(
  images: ImageInput | readonly ImageInput[],
  options: CallOptions,
  prepare: (pixels: Pixels, name: string) => Prepared,
): Promise<Prepared[]> {
  return encodeInputs('image', inputsIn<ImageInput>('image', images), options, async (image, name) =>
    prepare(await pixelsOf(image, name), name),
  );
}

export async function settingsFor(
  model: tf.LayersModel | tf.GraphModel,
  {preprocessor, range}: EncodeImagesOptions,
): Promise<Preprocessing> {
  if (!(model instanceof tf.GraphModel)) {
    checkModel(model);
  }
  if (range !== undefined) {
    if (preprocessor !== undefined) {
      throw new LoRAError('Pass a preprocessor or a range, not both: a preprocessor already determines the values.');
    }
    return resizedTo(model, range);
  }
  const instead = ', or pass the values of black and white, such as {range: [0, 1]}';
  return readPreprocessor(await preprocessorText(preprocessor ?? loadedPreprocessor(model), 'image', instead));
}

function resizedTo(model: tf.LayersModel | tf.GraphModel, range: readonly unknown[]): Preprocessing {
  const [black, white] = Array.isArray(range) ? (range as unknown[]) : [];
  if (!Number.isFinite(black) || !Number.isFinite(white) || range.length !== 2 || black === white) {
    throw new LoRAError(`range must be the values of black and white, such as [0, 1], got ${show(range)}.`);
  }
  const shapes = model.inputs.map(input => input.shape as number[] | undefined);
  const shape = shapes.find(inputShape => inputShape?.length === 4) ?? [];
  const [, height, width, colors] = shape;
  if (colors !== 3 || !(Number(height) > 0) || !(Number(width) > 0)) {
    throw misfitError(
      'The model must have an input of color images of one size, [batch, height, width, 3], got ' +
        `${shapes.map(inputShape => showShape(inputShape ?? [])).join(', ')}.`,
    );
  }
  const ofEach = (value: number) => [value, value, value];
  return {
    size: {height: height as number, width: width as number},
    resampling: 'bilinear',
    crop: undefined,
    factor: ((white as number) - (black as number)) / 255,
    mean: ofEach(-(black as number)),
    deviation: ofEach(1),
  };
}

/** An image in the size of the model's input: colors from 0 to 255, whole unless the config keeps floats. */
export interface Prepared extends ImageSize {
  data: Uint8Array | Float32Array;
}

/** Resizes and crops an image. Images that are smaller than the crop are padded with black. */
export function prepared(image: Pixels, name: string, {size, resampling, crop, isExact}: Preprocessing): Prepared {
  const edges = size === undefined ? image : edgesOf(image, size);
  if (size === undefined && crop === undefined) {
    return image;
  }
  checkEdges(image, edges, name, crop !== undefined);
  const [across, down] = [middleOf(edges.width, crop?.width), middleOf(edges.height, crop?.height)];
  if (isExact === true) {
    return {...edges, data: resizedFloats(image, edges, resampling)};
  }
  const cropBox = {left: across.from, width: across.count, top: down.from, height: down.count};
  const middle = resized(image, edges, resampling, cropBox);
  if (across.count === across.all && down.count === down.all) {
    return middle;
  }
  const data = new Uint8Array(across.all * down.all * 3);
  const length = across.count * 3;
  for (let row = 0; row < down.count; row++) {
    const colors = middle.data.subarray(row * length, (row + 1) * length);
    data.set(colors, ((row + down.before) * across.all + across.before) * 3);
  }
  return {data, width: across.all, height: down.all};
}

/** The size of an image with the given shorter edge. The longer edge is rounded down. */
function edgesOf({width, height}: Pixels, size: NonNullable<Preprocessing['size']>): ImageSize {
  if (!('shortest' in size)) {
    return size;
  }
  const {shortest} = size;
  const long = Math.trunc((shortest * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? {width: shortest, height: long} : {width: long, height: shortest};
}

/** The largest edge that Pillow makes. Without a crop the whole image is made. */
const MAX_VALUES_BEFORE_CROP = 2 ** 29;

function checkEdges(image: ImageSize, {width, height}: ImageSize, name: string, isCropped: boolean): void {
  const most = isCropped ? MAX_VALUES_BEFORE_CROP : MAX_EDGE;
  if (Math.max(width, height) > most) {
    throw tooLargeError(
      `${name} of ${image.width} × ${image.height} pixels would be resized to ${width} × ${height}; an edge may have ` +
        `at most ${most}. Crop the image first.`,
    );
  }
}

/** The central part of an edge, and the padding before it if the edge is too short. */
function middleOf(edge: number, wanted = edge): {from: number; count: number; before: number; all: number} {
  const from = Math.max(0, Math.floor((edge - wanted) / 2));
  const before = Math.max(0, Math.ceil((wanted - edge) / 2));
  return {from, count: Math.min(edge, wanted), before, all: wanted};
}

/** Writes the values of colors, in 32-bit floats as in NumPy. */
export function normalizationOf(
  settings: Preprocessing,
): (colors: Uint8Array | Float32Array, values: Float32Array) => void {
  const {factor, mean, deviation, flips = false} = settings;
  const valueOf = (color: number, i: number) => {
    const value = Math.fround(color * factor);
    return Math.fround(value - Math.fround(mean[i] as number)) / Math.fround(deviation[i] as number);
  };
  const tables = mean.map((_, i) => Float32Array.from({length: 256}, (__, color) => valueOf(color, i)));
  return (colors, values) => {
    for (let j = 0; j < colors.length; j++) {
      const i = j % 3;
      const color = colors[flips ? j + 2 - 2 * i : j] as number;
      values[j] = colors instanceof Uint8Array ? ((tables[i] as Float32Array)[color] as number) : valueOf(color, i);
    }
  };
}
