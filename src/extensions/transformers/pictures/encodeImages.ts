import * as tf from '@tensorflow/tfjs';
import {checkOptions, kindOf, LoRAError, misfitError, showShape, tooLargeError} from '../../../platform/errors';
import {checkModel} from '../../../core/rewire/walk';
import {MOST_OF_EDGE, type Preprocessing, readPreprocessor} from './preprocessor';
import {type Picture, pixelsOf} from './picturePixels';
import {type PictureSize, type Pixels, resized} from '../ops/resampling';

/** How pictures are encoded. */
export interface EncodeImagesOptions {
  /**
   * The `preprocessor_config.json` of the model, its text or the object that it holds. Default: that which lay beside
   * the files of the model, or was given to `loadTransformer`.
   */
  preprocessor?: string | object;
}

/** The key of a model's metadata under which it has its preprocessor's config. */
export const PREPROCESSOR = 'preprocessor';

/**
 * Pictures as a model takes them, `[pictures, height, width, 3]`: resized, cropped and normalized as the model's
 * `preprocessor_config.json` says.
 *
 *     const pixels = await encodeImages(model, [document.querySelector('img'), canvas]);
 *     model.predict(pixels)
 *
 * A picture is an element (`img`, `canvas`, `video`), an `ImageBitmap`, an `ImageData` or anything with `data`, `width`
 * and `height`, of 1, 3 or 4 colors from 0 to 255; a tensor `[height, width, colors]`, as tfjs has pictures: whole
 * numbers from 0 to 255 of type int32, or 0 to 1 of type float32; or a `Blob` that the browser can decode. What is
 * transparent becomes white.
 *
 * Numbers are those that the processors of transformers compute with Pillow (`backend="pil"`, `use_fast=False`).
 *
 * @throws LoRAError if there is no config, something in it has no code here, such as a resampling, or a picture is
 *     none. Pictures of several sizes are refused where the config does not bring them to one.
 */
export async function encodeImages(
  model: tf.LayersModel,
  pictures: Picture | readonly Picture[],
  options: EncodeImagesOptions = {},
): Promise<tf.Tensor4D> {
  checkOptions(options, {preprocessor: true});
  checkModel(model);
  const settings = readPreprocessor(options.preprocessor ?? preprocessorOf(model));
  const list: readonly Picture[] = Array.isArray(pictures) ? (pictures as readonly Picture[]) : [pictures as Picture];
  if (list.length === 0) {
    throw new LoRAError('A picture is needed, or a list of them; got an empty one.');
  }
  const made: Pixels[] = [];
  for (const [i, picture] of list.entries()) {
    const name = list.length === 1 ? 'The picture' : `Picture ${i}`;
    made.push(prepared(await pixelsOf(picture, name), name, settings));
  }
  const [{height, width}] = made as [Pixels];
  const other = made.find(each => each.height !== height || each.width !== width);
  if (other !== undefined) {
    throw misfitError(
      `Pictures of one size are needed, since the config has no size and no crop that brings them to one; got ` +
        `${showShape([height, width])} and ${showShape([other.height, other.width])}.`,
    );
  }
  const values = new Float32Array(list.length * height * width * 3);
  const tables = tablesOf(settings);
  made.forEach(({data}, i) => {
    const from = i * height * width * 3;
    for (let j = 0; j < data.length; j++) {
      values[from + j] = (tables[j % 3] as Float32Array)[data[j] as number] as number;
    }
  });
  return tf.tensor4d(values, [list.length, height, width, 3]);
}

function preprocessorOf(model: tf.LayersModel): string | object {
  const metadata = model.getUserDefinedMetadata() as Record<string, unknown> | undefined;
  const found = metadata?.[PREPROCESSOR];
  if (typeof found !== 'object' || found === null) {
    throw misfitError(
      'The model came without a preprocessor_config.json, which says what is done to its pictures. Give it with ' +
        `{preprocessor}, here or to loadTransformer; got ${kindOf(found)}.`,
    );
  }
  return found;
}

/** A picture of whole colors, in the size that the model takes. What stands around one that is smaller is black. */
function prepared(picture: Pixels, name: string, {size, resampling, crop}: Preprocessing): Pixels {
  const edges = size === undefined ? picture : edgesOf(picture, size);
  if (size === undefined && crop === undefined) {
    return picture;
  }
  checkEdges(picture, edges, name, crop !== undefined);
  const [across, down] = [middleOf(edges.width, crop?.width), middleOf(edges.height, crop?.height)];
  const part = {left: across.from, width: across.count, top: down.from, height: down.count};
  const middle = resized(picture, edges, resampling, part);
  if (across.count === across.all && down.count === down.all) {
    return middle;
  }
  const data = new Uint8Array(across.all * down.all * 3);
  const length = across.count * 3;
  for (let row = 0; row < down.count; row++) {
    const colors = middle.data.subarray(row * length, (row + 1) * length);
    data.set(colors, ((row + down.before) * across.all + across.before) * 3);
  }
  return {data, width: across.all, height: down.all, channels: 3};
}

/** The size of a picture whose shorter edge is given: the longer one is cut to a whole number. */
function edgesOf({width, height}: Pixels, size: NonNullable<Preprocessing['size']>): PictureSize {
  if (!('shortest' in size)) {
    return size;
  }
  const {shortest} = size;
  const long = Math.trunc((shortest * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? {width: shortest, height: long} : {width: long, height: shortest};
}

/** Pillow makes no longer edges. Without a crop all of a picture is made. */
const MOST_BEFORE_CROP = 2 ** 29;

function checkEdges(picture: PictureSize, {width, height}: PictureSize, name: string, isCropped: boolean): void {
  const most = isCropped ? MOST_BEFORE_CROP : MOST_OF_EDGE;
  if (Math.max(width, height) > most) {
    throw tooLargeError(
      `${name} of ${picture.width} × ${picture.height} points would be resized to ${width} × ${height}; an edge may ` +
        `have ${most}. Cut the picture before it is encoded.`,
    );
  }
}

/** Of an edge the middle that is wanted: what is taken, and how much stands before it where there is too little. */
function middleOf(own: number, wanted = own): {from: number; count: number; before: number; all: number} {
  const from = Math.max(0, Math.floor((own - wanted) / 2));
  const before = Math.max(0, Math.ceil((wanted - own) / 2));
  return {from, count: Math.min(own, wanted), before, all: wanted};
}

/** What each color from 0 to 255 becomes, in 32-bit floats as NumPy has them. */
function tablesOf({factor, mean, deviation}: Preprocessing): Float32Array[] {
  return mean.map((middle, i) =>
    Float32Array.from({length: 256}, (_, color) => {
      const value = Math.fround(color * factor);
      return Math.fround(value - Math.fround(middle)) / Math.fround(deviation[i] as number);
    }),
  );
}
