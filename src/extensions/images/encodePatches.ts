import * as tf from '@tensorflow/tfjs';
import {checkCount, checkOptions, LoRAError, misfitError, showShape, tooLargeError} from '../../platform/errors';
import {checkCallOptions} from '../../platform/signals';
import {tensorsFor} from '../transformers/net/modelInputs';
import type {ImageSize} from '../transformers/ops/resampling';
import {type EncodeImagesOptions, normalizationOf, prepareAll, prepared, settingsFor} from './encodeImages';
import type {ImageInput} from './imagePixels';
import type {PatchSettings} from './preprocessor';

/** How images are encoded as patches. */
export interface EncodePatchesOptions extends Omit<EncodeImagesOptions, 'range'> {
  /** The length of each sequence; more patches keep more detail. Default: the preprocessor's `max_num_patches`. */
  maxPatches?: number;
}

/** Images as a model for patches takes them. */
export interface EncodedPatches {
  /** The tensors below, in the order of the model's inputs. */
  inputs: tf.Tensor[];
  /** `[images, patches, values]`, zeros after the last patch of an image. */
  pixelValues: tf.Tensor3D;
  /** 1 for patches, 0 for padding, `[images, patches]`. */
  pixelAttentionMask: tf.Tensor2D;
  /** The rows and columns of each image's patches, `[images, 2]`. */
  spatialShapes: tf.Tensor2D;
}

/** The number of values of one tensor. */
const MAX_VALUES = 2 ** 28;

/**
 * Encodes images as sequences of patches, for SigLIP 2 with images of any aspect ratio (NaFlex, `model_type`
 * `siglip2`). Each image is resized to as many patches as `maxPatches` allows, and nearly keeps its aspect ratio.
 *
 * Takes the same images as {@link encodeImages}. Values are those that `Siglip2ImageProcessor` of transformers computes
 * with Pillow (`backend="pil"`).
 *
 * @param model of `loadTransformer`.
 * @param images an image, or a list of them.
 * @param options the preprocessor, the length of the sequences, `signal` and `onProgress`.
 * @returns the model's `inputs`, and each tensor by its name. Dispose of all three after use.
 * @throws LoRAError `ERR_OPTION` if an image is none, there is no preprocessor, or an image that is not resized does
 *     not consist of whole patches; `ERR_UNSUPPORTED` if a setting of the preprocessor is not supported; `ERR_MISFIT`
 *     if the model does not take its patches; `ERR_TOO_LARGE` if there are too many values; `ERR_ABORTED`.
 * @example
 *     const {inputs} = await encodePatches(model, [canvas, image]);
 *     const vectors = model.predict(inputs);
 * @experimental
 */
export async function encodePatches(
  model: tf.LayersModel,
  images: ImageInput | readonly ImageInput[],
  options: EncodePatchesOptions = {},
): Promise<EncodedPatches> {
  const {maxPatches, ...settingsOptions} = options;
  checkOptions(options, {preprocessor: true, maxPatches: true, signal: true, onProgress: true});
  checkCallOptions(options);
  if (maxPatches !== undefined) {
    checkCount('maxPatches', maxPatches);
  }
  const settings = await settingsFor(model, settingsOptions);
  if (settings.patches === undefined) {
    throw misfitError('The preprocessor makes whole images, not patches. Use encodeImages(model, images).');
  }
  const patches = {...settings.patches, most: maxPatches ?? settings.patches.most};
  const {edge, most} = patches;
  const length = 3 * edge ** 2;
  const shapes = model.inputs.map(({shape}) => shape);
  if (!shapes.some(shape => shape.length === 3 && shape[2] === length)) {
    throw misfitError(
      `The model must have an input of patches of ${edge} × ${edge} pixels, [batch, patches, ${length}], got ` +
        `${shapes.map(showShape).join(', ')}.`,
    );
  }
  const count = Array.isArray(images) ? images.length : 1;
  if (count * most * length > MAX_VALUES) {
    throw tooLargeError(
      `${count} images of ${most} patches with ${length} values each have more than ${MAX_VALUES} values. Encode ` +
        'fewer at a time, or lower maxPatches.',
    );
  }
  const made = await prepareAll(images, options, (pixels, name) =>
    prepared(pixels, name, {
      ...settings,
      size: patches.resizes ? sizeFor(pixels, patches) : unresizedSize(pixels, name, patches),
    }),
  );
  const values = new Float32Array(made.length * most * length);
  const mask = new Int32Array(made.length * most);
  const normalize = normalizationOf(settings);
  made.forEach(({data, width, height}, i) => {
    const colors = new Float32Array(data.length);
    normalize(data, colors);
    for (let y = 0; y < height; y++) {
      for (let column = 0; column < width / edge; column++) {
        const patch = i * most + Math.floor(y / edge) * (width / edge) + column;
        const from = (y * width + column * edge) * 3;
        values.set(colors.subarray(from, from + 3 * edge), patch * length + (y % edge) * 3 * edge);
      }
    }
    mask.fill(1, i * most, i * most + (width * height) / edge ** 2);
  });
  const grids = made.flatMap(({width, height}) => [height / edge, width / edge]);
  const pixelValues = tf.tensor3d(values, [made.length, most, length]);
  const pixelAttentionMask = tf.tensor2d(mask, [made.length, most], 'int32');
  const spatialShapes = tf.tensor2d(grids, [made.length, 2], 'int32');
  const named = {pixel_values: pixelValues, pixel_attention_mask: pixelAttentionMask, spatial_shapes: spatialShapes};
  return {inputs: tensorsFor(model, named), pixelValues, pixelAttentionMask, spatialShapes};
}

/** The largest size of whole patches, by a search for the scale that gives the same numbers as in transformers. */
function sizeFor({width, height}: ImageSize, {edge, most}: PatchSettings): ImageSize {
  const scaled = (scale: number): ImageSize => {
    const [across, down] = [width, height].map(size => Math.max(Math.ceil((size * scale) / edge), 1)) as [
      number,
      number,
    ];
    return {width: across * edge, height: down * edge};
  };
  const precision = 1e-5;
  let [low, high] = [precision / 10, 100];
  while (high - low >= precision) {
    const scale = (low + high) / 2;
    const size = scaled(scale);
    if ((size.width / edge) * (size.height / edge) <= most) {
      low = scale;
    } else {
      high = scale;
    }
  }
  return scaled(low);
}

/** The size of an image that is not resized. */
function unresizedSize({width, height}: ImageSize, name: string, {edge, most}: PatchSettings): ImageSize {
  const count = (width * height) / edge ** 2;
  if (width % edge !== 0 || height % edge !== 0 || count > most) {
    throw new LoRAError(
      `${name} must consist of at most ${most} patches of ${edge} × ${edge} pixels, since the preprocessor does not ` +
        `resize it (do_resize); got ${width} × ${height} pixels.`,
    );
  }
  return {width, height};
}
